"""Training steps of the network and losses of `configs/train.json`, with a batch of 5 slices of 256 x 256 pixels.

Its floor is the convolutions of the network alone, forward and backward, in the same type and channels-last. The plain
form is float32 in contiguous tensors, with the plain form of switchable normalization. All ways start from the same
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
from scripts.networks import StrokeLesionNet
from scripts.networks.outputs import TrainingOutputs
from scripts.phantom import ensure_cohort
from scripts.phantom.parameters import ScanParameters
from scripts.workflow import PrepareTraining

from ..run import config_files
from .floors import convolutions_alone, plain_normalization
from .measure import Alternative, Figure, Found, Growth, Row, Run, Settings, compared, growth

HELP = "training steps against float32 in contiguous tensors, waiting for data, and the cache"

WIDTHS, PAPER_WIDTHS = (16, 32, 64, 128, 256), (64, 128, 256, 512, 1024)
CASES, SEED = 3, 7
SCANS = 94
PLAIN, SINGLE, HALF = "float32, contiguous, plain", "float32, channels-last", "bfloat16, channels-last"
COMPILED = f"{HALF}, compiled"
FLOOR = "floor: convolutions alone, {}"
_FASTER = {"cpu": 2.4, "cuda": 4.0}
LOSS_TOLERANCE = 0.02
MOST_ROUNDS, COMPARED_STEPS, WAITING_STEPS = 3, 4, 12
Batch = tuple[Tensor, dict[str, Tensor]]


class PlainOutputs(nn.Module):
    """The network's outputs as `TrainingOutputs` gives them, in float32 and the memory format of the input."""

    def __init__(self, network: StrokeLesionNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map ``image`` (N, C, H, W) to the outputs by name."""
        with plain_normalization():
            return self.network.synthesize(image)._asdict()


class Trainer:
    """Steps through the same batches (image, targets) over and over, and keeps the losses."""

    def __init__(self, outputs: nn.Module, loss: nn.Module, batches: Sequence[Batch]) -> None:
        self.outputs = outputs.train()
        self.loss = loss
        self.batches = itertools.cycle(batches)
        # In the place of the config's object, which holds the parameters of the config's network.
        self.optimizer = torch.optim.AdamW([*outputs.parameters(), *loss.parameters()], lr=1e-3, weight_decay=1e-4)
        self.losses: list[float] = []

    def step(self, batch: Batch | None = None) -> None:
        """Take one step with a batch, by default the next of its own."""
        image, targets = batch or next(self.batches)
        self.optimizer.zero_grad()
        loss = self.loss(self.outputs(image), targets)
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())


def measure(settings: Settings) -> Found:
    """Time and memory of a step, the fraction of waiting, the size of the cache, and how a step grows."""
    paper = settings.device.type == "cuda" and not settings.quick
    widths = (2, 4) if settings.quick else PAPER_WIDTHS if paper else WIDTHS
    with tempfile.TemporaryDirectory() as folder:
        parser = _config(Path(folder), 32 if settings.quick else 256, widths, settings)
        batches = [PrepareTraining()(batch, settings.device) for batch in itertools.islice(_epochs(parser), 4)]
        rows = _step_rows(parser, batches, settings)
        rows += [_waiting_row(parser, batches, settings), _cache_row(parser)]
    notes = [
        f"Widths {', '.join(map(str, widths))}; the memory of a step is that of its activations and gradients.",
        f"Losses are those of the first {COMPARED_STEPS} steps; a difference of {LOSS_TOLERANCE:.0%} is allowed.",
        "Waiting is by the clock, over some steps of the fastest way, with the loader in the configured number of "
        "processes.",
        f"The cache is that of {SCANS} scans with as many slices as the phantom draws, 5.3 on average.",
    ]
    return Found(rows, [_grown(batches[0], widths, settings)], notes)


def _config(folder: Path, pixels: int, widths: Sequence[int], settings: Settings) -> ConfigParser:
    """`configs/train.json` on a phantom of a few cases."""
    datalist = ensure_cohort(folder / "phantom", (CASES, 1, 1), SEED, workers=1, matrix=pixels)
    parser = ConfigParser()
    parser.read_config([str(path) for path in config_files("train")])
    overrides = {"dataset_dir": str(datalist.parent), "image_size": pixels, "features": list(widths)}
    overrides |= {"device": settings.device, "train#dataset#progress": False, "train#dataset#num_workers": 0}
    if settings.quick:
        overrides |= {"num_workers": 0, "train#dataloader#persistent_workers": False}
    parser.update(overrides)
    return parser


def _epochs(parser: ConfigParser) -> Generator[Mapping[str, Any], None, None]:
    """Full batches of the config's loader, epoch after epoch."""
    loader, sampler = parser.get_parsed_content("train#dataloader"), parser.get_parsed_content("train#sampler")
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from (batch for batch in loader if len(batch["image"]) == loader.batch_size)


def trainers(network: StrokeLesionNet, loss: nn.Module, batches: Sequence[Batch]) -> dict[str, Trainer]:
    """One for each way to train, each with a copy of the weights; the last is the fastest."""
    outputs: dict[str, nn.Module] = {
        PLAIN: PlainOutputs(deepcopy(network)),
        SINGLE: TrainingOutputs(deepcopy(network)),
        HALF: TrainingOutputs(deepcopy(network), amp=True),
    }
    if batches[0][0].device.type == "cuda":
        compiled: Any = torch.compile(TrainingOutputs(deepcopy(network), amp=True))
        outputs[COMPILED] = compiled
    return {name: Trainer(module, deepcopy(loss), batches) for name, module in outputs.items()}


def _of_config(parser: ConfigParser, batches: Sequence[Batch]) -> dict[str, Trainer]:
    return trainers(parser.get_parsed_content("network"), parser.get_parsed_content("loss_function"), batches)


def _step_rows(parser: ConfigParser, batches: Sequence[Batch], settings: Settings) -> list[Row]:
    """A row for each way and each floor."""
    steps = _of_config(parser, batches)
    for trainer in steps.values():
        for _ in range(COMPARED_STEPS):
            trainer.step()
    losses = {name: np.array(trainer.losses) for name, trainer in steps.items()}
    network, fastest = parser.get_parsed_content("network"), list(steps)[-1]
    ways: dict[str, Alternative] = {}
    for dtype in (torch.float32, torch.bfloat16):
        alone = convolutions_alone(network, batches[0][0], dtype, backward=True)
        ways[FLOOR.format(str(dtype).removeprefix("torch."))] = Alternative(alone)
    for name, trainer in steps.items():
        faster = _FASTER[settings.device.type] if name == fastest else None
        ways[name] = Alternative(trainer.step, FLOOR.format(name.split(",")[0]), faster=faster)
    rows = {row.case: row for row in compared(ways, settings, plain=PLAIN, most_rounds=MOST_ROUNDS)}
    for name in list(steps)[1:]:
        share = rows[name].figures["memory"].value / rows[PLAIN].figures["memory"].value
        difference = float(np.abs(losses[name] / losses[PLAIN] - 1).max())
        figures = {
            "memory in that of plain": Figure(share, 0.6 if name == fastest else None),
            "largest difference of losses": Figure(100 * difference, 100 * LOSS_TOLERANCE, unit="%"),
        }
        rows[name] = rows[name]._replace(figures={**rows[name].figures, **figures})
    return list(rows.values())


def _waiting_row(parser: ConfigParser, batches: Sequence[Batch], settings: Settings) -> Row:
    """Train the fastest way on what the loader gives, and measure how long its next batch is waited for."""
    trainer = list(_of_config(parser, batches).values())[-1]
    trainer.step()
    loaded = _epochs(parser)
    next(loaded)  # the processes have started
    waited_s, start_s = 0.0, time.perf_counter()
    for _ in range(2 if settings.quick else WAITING_STEPS):
        before_s = time.perf_counter()
        batch = next(loaded)
        waited_s += time.perf_counter() - before_s
        trainer.step(PrepareTraining()(batch, settings.device))  # its loss is read, so a GPU has finished
    fraction = waited_s / (time.perf_counter() - start_s)
    loaded.close()
    return Row("waiting for data", None, {"part of the time": Figure(100 * fraction, 5.0, unit="%")})


def _cache_row(parser: ConfigParser) -> Row:
    """Memory of the cached cases of a data set of the size of ISLES 2018."""
    dataset = parser.get_parsed_content("train#dataset")
    cached = [dataset.cases[index] for index in range(len(dataset.data))]
    n_bytes = sum(value.nbytes for case in cached for value in case.values() if isinstance(value, Tensor))
    scans = [ScanParameters.sample(np.random.default_rng([SEED, index])) for index in range(SCANS)]
    gigabytes = n_bytes / len(dataset) * sum(scan.grid.n_slices for scan in scans) / 1e9
    return Row(f"cache of {SCANS} cases", None, {"size": Figure(gigabytes, 3.0, unit="GB")})


def _grown(batch: Batch, widths: Sequence[int], settings: Settings) -> Growth:
    """Against the slices of a batch, at a quarter of the pixels."""
    step = 1 if settings.quick else 2
    small = {key: value[..., ::step, ::step] if value.dim() == 4 else value for key, value in batch[1].items()}
    network, loss = StrokeLesionNet(features=widths).to(settings.device), StrokeLesionLoss().to(settings.device)

    def steps(count: int) -> dict[str, Run]:
        part = (batch[0][:count, ..., ::step, ::step], {name: target[:count] for name, target in small.items()})
        ways = trainers(network, loss, [part])
        return {name: ways[name].step for name in (PLAIN, HALF)}

    return growth("slices of a batch", [1, 3, len(batch[0])], steps, settings)
