"""Training steps of the network and losses of `configs/train.json`, with a batch of 5 slices of 256 x 256 pixels.

Its floor is the convolutions of the network alone, forward and backward, in the same type and channels-last. The plain
form is float32 in contiguous tensors, with the plain form of switchable normalisation. All ways start from the same
weights and see the same batches, which `SliceDataset` makes of a small phantom.
"""

import itertools
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from scripts.losses import StrokeLesionLoss
from scripts.networks import StrokeLesionNet, SwitchableNorm2d
from scripts.networks.outputs import TrainingOutputs
from scripts.phantom.parameters import ScanParameters
from scripts.workflow import PrepareTraining

from ..steps import ROOT, ensure_data
from .floors import Run, convolutions_alone
from .measurement import MIB, TIMES_FASTER, TIMES_THE_FLOOR, Figure, Found, Measurement, Scaling, Settings
from .normalisation import plain_switchable
from .timing import alternate, peak_memory_mib

HELP = "training steps against fp32 in contiguous tensors, waiting for data, and the cache"

WIDTHS, PAPER_WIDTHS = (16, 32, 64, 128, 256), (64, 128, 256, 512, 1024)
CASES, SEED = 3, 7
SCANS = 94
PLAIN, SINGLE, HALF = "float32, contiguous, plain", "float32, channels-last", "bfloat16, channels-last"
COMPILED = f"{HALF}, compiled"
_FLOOR = "floor: convolutions alone, {}"
_FASTER = {"cpu": 2.4, "cuda": 4.0}
MOST_ROUNDS = 5
LOSS_TOLERANCE = 0.02
WAITING_BATCHES = 12
Batch = tuple[Tensor, dict[str, Tensor]]


class PlainSwitchableNorm(nn.Module):
    """A switchable normalisation computed by :func:`bundle.benchmark.normalisation.plain_switchable`."""

    def __init__(self, layer: SwitchableNorm2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W)."""
        return plain_switchable(x, self.layer)


class PlainOutputs(nn.Module):
    """The network's outputs as `TrainingOutputs` gives them, in float32 and the memory format of the input."""

    def __init__(self, network: StrokeLesionNet) -> None:
        super().__init__()
        self.network = network
        for parent in list(network.modules()):
            for name, child in parent.named_children():
                if isinstance(child, SwitchableNorm2d):
                    setattr(parent, name, PlainSwitchableNorm(child))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map ``image`` (N, C, H, W) to the outputs by name."""
        return self.network.synthesize(image)._asdict()


class Trainer:
    """Steps through the same batches over and over, and keeps the losses.

    Args:
        outputs: what gives the losses what they compare.
        loss: of outputs and targets.
        batches: images and targets.
    """

    def __init__(self, outputs: nn.Module, loss: nn.Module, batches: Sequence[Batch]) -> None:
        self.outputs = outputs.train()
        self.loss = loss
        self.batches = itertools.cycle(batches)
        # In the place of the config's object, which holds the parameters of the config's network.
        self.optimizer = torch.optim.AdamW([*outputs.parameters(), *loss.parameters()], lr=1e-3, weight_decay=1e-4)
        self.losses: list[float] = []

    def step(self) -> None:
        """Take one step."""
        self.step_on(next(self.batches))

    def step_on(self, batch: Batch) -> None:
        """Take one step with a batch."""
        image, targets = batch
        self.optimizer.zero_grad()
        loss = self.loss(self.outputs(image), targets)
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())


def measure(settings: Settings) -> Found:
    """Time and memory of a step, the share of waiting, the size of the cache, and how a step grows."""
    paper = settings.device.type == "cuda" and not settings.quick
    widths = (2, 4) if settings.quick else PAPER_WIDTHS if paper else WIDTHS
    with tempfile.TemporaryDirectory() as folder:
        parser = _config(Path(folder), 32 if settings.quick else 256, widths, settings)
        batches = [_prepared(batch, settings.device) for batch in itertools.islice(_epochs(parser), 4)]
        rows, repeats = _step_rows(parser, batches, settings)
        rows += [_waiting_row(parser, batches, settings), _making_row(parser, settings), _cache_row(parser)]
    notes = [
        f"Widths {', '.join(map(str, widths))}; the memory of a step is that of its activations and gradients.",
        f"Losses are those of the first {repeats + 1} steps; a difference of {LOSS_TOLERANCE:.0%} is allowed.",
        f"Waiting is taken by the clock, over {_waiting_batches(settings)} steps of the fastest way, with the loader "
        "in the configured number of processes.",
        f"The cache is that of {SCANS} scans with as many slices as the phantom draws, 5.3 on average.",
    ]
    return Found(rows, _scaling(batches, widths, settings), notes)


def _config(folder: Path, pixels: int, widths: Sequence[int], settings: Settings) -> ConfigParser:
    """`configs/train.json` on a phantom of a few cases."""
    datalist = ensure_data(folder / "phantom", (CASES, 1, 1), SEED, workers=1, matrix=pixels)
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "train.json")
    parser.update(
        {
            **({"num_workers": 0, "train#dataloader#persistent_workers": False} if settings.quick else {}),
            "dataset_dir": str(datalist.parent),
            "image_size": pixels,
            "features": list(widths),
            "device": settings.device,
            "train#dataset#progress": False,
            "train#dataset#num_workers": 0,
        }
    )
    return parser


def _epochs(parser: ConfigParser) -> Generator[Mapping[str, Any], None, None]:
    """Full batches of the config's loader, epoch after epoch."""
    loader, sampler = parser.get_parsed_content("train#dataloader"), parser.get_parsed_content("train#sampler")
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from (batch for batch in loader if len(batch["image"]) == loader.batch_size)


def _prepared(batch: Mapping[str, Any], device: torch.device) -> Batch:
    return PrepareTraining()(batch, device)


def _trainers(network: StrokeLesionNet, loss: nn.Module, batches: Sequence[Batch]) -> dict[str, Trainer]:
    """One for each way to train, each with a copy of the weights."""
    outputs: dict[str, nn.Module] = {
        PLAIN: PlainOutputs(deepcopy(network)),
        SINGLE: TrainingOutputs(deepcopy(network)),
        HALF: TrainingOutputs(deepcopy(network), amp=True),
    }
    if batches[0][0].device.type == "cuda":
        compiled: Any = torch.compile(TrainingOutputs(deepcopy(network), amp=True))
        outputs[COMPILED] = compiled
    return {name: Trainer(module, deepcopy(loss), batches) for name, module in outputs.items()}


def _step_rows(parser: ConfigParser, batches: Sequence[Batch], settings: Settings) -> tuple[list[Measurement], int]:
    """A row for each way and each floor, and the rounds."""
    trainers = _trainers(parser.get_parsed_content("network"), parser.get_parsed_content("loss_function"), batches)
    image = batches[0][0]
    runs: dict[str, Run] = {name: trainer.step for name, trainer in trainers.items()}
    floors = {
        _FLOOR.format(str(dtype).removeprefix("torch.")): convolutions_alone(
            parser.get_parsed_content("network"), image, dtype, backward=True
        )
        for dtype in (torch.float32, torch.bfloat16)
    }
    repeats = min(settings.repeats, MOST_ROUNDS)
    timings = alternate({**runs, **floors}, repeats, image.device)
    losses = {name: np.array(trainer.losses) for name, trainer in trainers.items()}
    memory_mib = {name: peak_memory_mib(run, image.device) for name, run in runs.items()}
    fastest = list(runs)[-1]
    rows = [Measurement(PLAIN, timings[PLAIN], {"memory": Figure(memory_mib[PLAIN], unit=MIB)})]
    for name in list(runs)[1:]:
        floor = timings[_FLOOR.format(name.split(",")[0])]
        judged = name == fastest
        difference = float(np.abs(losses[name] / losses[PLAIN] - 1).max())
        figures = {
            "memory": Figure(memory_mib[name], unit=MIB),
            "memory in that of plain": Figure(memory_mib[name] / memory_mib[PLAIN], 0.6 if judged else None),
            TIMES_THE_FLOOR: Figure(timings[name].median_ms / floor.median_ms),
            TIMES_FASTER: Figure(
                timings[PLAIN].median_ms / timings[name].median_ms, _FASTER[image.device.type] if judged else None, True
            ),
            "largest difference of losses": Figure(100 * difference, 100 * LOSS_TOLERANCE, unit="%"),
        }
        rows.append(Measurement(name, timings[name], figures))
    return [*rows, *(Measurement(name, timings[name], {}) for name in floors)], repeats


def _waiting_batches(settings: Settings) -> int:
    return 2 if settings.quick else WAITING_BATCHES


def _waiting_row(parser: ConfigParser, batches: Sequence[Batch], settings: Settings) -> Measurement:
    """Train the fastest way on what the loader gives, and measure how long its next batch is waited for."""
    trainers = _trainers(parser.get_parsed_content("network"), parser.get_parsed_content("loss_function"), batches)
    trainer = list(trainers.values())[-1]
    trainer.step()
    loaded = _epochs(parser)
    next(loaded)  # the processes have started
    waited_s, start_s = 0.0, time.perf_counter()
    for _ in range(_waiting_batches(settings)):
        before_s = time.perf_counter()
        batch = next(loaded)
        waited_s += time.perf_counter() - before_s
        trainer.step_on(_prepared(batch, settings.device))  # its loss is read, so a GPU has finished
    share = waited_s / (time.perf_counter() - start_s)
    loaded.close()
    return Measurement("waiting for data", None, {"share": Figure(100 * share, 5.0, unit="%")})


def _making_row(parser: ConfigParser, settings: Settings) -> Measurement:
    """Time of what a process of the loader does for a batch."""
    dataset = parser.get_parsed_content("train#dataset")
    indices = itertools.cycle(range(len(dataset)))
    n_slices = parser.get_parsed_content("batch_size")

    def make() -> None:
        for _ in range(n_slices):
            dataset[next(indices)]

    name = "making a batch in a process of the loader"
    return Measurement(name, alternate({name: make}, settings.repeats)[name], {})


def _cache_row(parser: ConfigParser) -> Measurement:
    """Memory of the cached cases of a data set of the size of ISLES 2018."""
    dataset = parser.get_parsed_content("train#dataset")
    cached = [dataset.cases[index] for index in range(len(dataset.data))]
    n_bytes = sum(value.nbytes for case in cached for value in case.values() if isinstance(value, Tensor))
    scans = [ScanParameters.sample(np.random.default_rng([SEED, index])) for index in range(SCANS)]
    n_slices = sum(scan.grid.n_slices for scan in scans)
    gigabytes = n_bytes / len(dataset) * n_slices / 1e9
    return Measurement(f"cache of {SCANS} cases", None, {"size": Figure(gigabytes, 3.0, unit="GB")})


def _scaling(batches: Sequence[Batch], widths: Sequence[int], settings: Settings) -> list[Scaling]:
    """Against the widths and against the slices of a batch, at a quarter of the pixels."""
    image, targets = batches[0]
    step = 1 if settings.quick else 2  # half the pixels along each side: a fine sweep at full size takes long
    small = (image[..., ::step, ::step], {k: v[..., ::step, ::step] if v.dim() == 4 else v for k, v in targets.items()})
    factors = (0.5, 1.0) if settings.quick else (0.5, 1.0, 2.0)
    sizes = (1, len(image)) if settings.quick else (1, 2, 3, len(image))
    by_width = [([int(width * factor) for width in widths], small) for factor in factors]
    by_size = [(list(widths), _first(small, size)) for size in sizes]
    return [
        _grown("width of the finest level", [features[0] for features, _ in by_width], by_width, settings),
        _grown("slices of a batch", list(sizes), by_size, settings),
    ]


def _first(batch: Batch, count: int) -> Batch:
    image, targets = batch
    return image[:count], {name: target[:count] for name, target in targets.items()}


def _grown(axis: str, points: list[int], inputs: Sequence[tuple[list[int], Batch]], settings: Settings) -> Scaling:
    """Steps at some widths and batches."""
    time_ms: dict[str, list[float]] = {}
    memory_mib: dict[str, list[float]] = {}
    for features, batch in inputs:
        network = StrokeLesionNet(features=features).to(settings.device)
        trainers = _trainers(network, StrokeLesionLoss().to(settings.device), [batch])
        runs: dict[str, Run] = {name: trainers[name].step for name in (PLAIN, HALF)}
        for name, timing in alternate(runs, min(settings.repeats, 2), settings.device).items():
            time_ms.setdefault(name, []).append(timing.median_ms)
            memory_mib.setdefault(name, []).append(peak_memory_mib(runs[name], settings.device))
    return Scaling(f"{axis} ({batch[0].shape[-1]} x {batch[0].shape[-2]} pixels)", points, time_ms, memory_mib)
