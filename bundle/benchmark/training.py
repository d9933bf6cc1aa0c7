"""Training steps of the network and losses of `configs/train.json`, with a batch of 5 slices of 256 x 256 pixels.

Its floor is the convolutions of the network alone, forward and backward, in the same type and channels-last. The plain
form is float32 in contiguous tensors, with the plain form of switchable normalization. All ways start from the same
weights and see the same batches, which `SliceDataset` makes of a small phantom; losses are those of the first 4 steps.
Memory is that of activations and gradients. Waiting for data is by the clock, over steps of the fastest way, with the
loader in the configured number of processes. The cache is that of 94 scans with as many slices as the phantom draws,
5.3 on average.
"""

import itertools
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from scripts.networks import StrokeLesionNet
from scripts.networks.outputs import TrainingOutputs
from scripts.phantom import ensure_cohort
from scripts.phantom.parameters import ScanParameters
from scripts.workflow import PrepareTraining

from ..run import config_files
from .floors import convolutions_alone, plain_normalization
from .measure import Figure, Group, Run, Settings, peak_mib

WIDTHS, PAPER_WIDTHS = (16, 32, 64, 128, 256), (64, 128, 256, 512, 1024)
CASES, SEED = 3, 7
SCANS = 94
MOST_OF_PLAIN = {"cpu": 0.42, "cuda": 0.25}
"""The most time of the fastest way over that of the plain one."""
MOST_MEMORY_OF_PLAIN, MOST_LOSS_DIFFERENCE, MOST_WAITING, MOST_CACHE_GB = 0.6, 0.02, 0.05, 3.0
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


def measure(settings: Settings) -> Iterator[Group | Figure]:
    """Time and memory of a step, smaller batches, waiting for data, and the size of the cache."""
    paper = settings.device.type == "cuda" and not settings.quick
    widths = (2, 4) if settings.quick else PAPER_WIDTHS if paper else WIDTHS
    with tempfile.TemporaryDirectory() as folder:
        parser = config(Path(folder), widths, settings)
        batches = [PrepareTraining()(batch, settings.device) for batch in itertools.islice(epochs(parser), 4)]
        network, loss = (parser.get_parsed_content(key) for key in ("network", "loss_function"))
        yield from steps(network, loss, batches)
        fastest = [*trainers(network, loss, batches).values()][-1]
        yield waiting(fastest, parser, settings)
        yield cache(parser)
    image, targets = batches[0]
    for count in (1, 3):
        part = image[:count], {key: target[:count] for key, target in targets.items()}
        ways = trainers(network, loss, [part])
        runs: dict[str, Run] = {name: ways[name].step for name in ("plain", "bfloat16")}
        yield Group(f"a step of {count} slices", runs, most_rounds=2)


def config(folder: Path, widths: Sequence[int], settings: Settings) -> ConfigParser:
    """`configs/train.json` on a phantom of a few cases."""
    pixels = 32 if settings.quick else 256
    datalist = ensure_cohort(folder / "phantom", (CASES, 0, 0), SEED, workers=1, matrix=pixels)
    parser = ConfigParser()
    parser.read_config([str(path) for path in config_files("train")])
    overrides = {"dataset_dir": str(datalist.parent), "image_size": pixels, "features": list(widths)}
    overrides |= {"device": settings.device, "train#dataset#progress": False, "train#dataset#num_workers": 0}
    if settings.quick:
        overrides |= {"num_workers": 0, "train#dataloader#persistent_workers": False}
    parser.update(overrides)
    return parser


def epochs(parser: ConfigParser) -> Generator[Mapping[str, Any], None, None]:
    """Full batches of the config's loader, epoch after epoch."""
    loader, sampler = parser.get_parsed_content("train#dataloader"), parser.get_parsed_content("train#sampler")
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from (batch for batch in loader if len(batch["image"]) == loader.batch_size)


def trainers(network: StrokeLesionNet, loss: nn.Module, batches: Sequence[Batch]) -> dict[str, Trainer]:
    """One for each way to train, each with a copy of the weights; the last is the fastest."""
    outputs: dict[str, nn.Module] = {
        "plain": PlainOutputs(deepcopy(network)),
        "float32": TrainingOutputs(deepcopy(network)),
        "bfloat16": TrainingOutputs(deepcopy(network), amp=True),
    }
    if batches[0][0].device.type == "cuda":
        compiled: Any = torch.compile(TrainingOutputs(deepcopy(network), amp=True))
        outputs["bfloat16 compiled"] = compiled
    return {name: Trainer(module, deepcopy(loss), batches) for name, module in outputs.items()}


def steps(network: StrokeLesionNet, loss: nn.Module, batches: Sequence[Batch]) -> Iterator[Group | Figure]:
    """A step of every way next to the convolutions, its memory, and how far the losses are from the plain ones."""
    ways, device = trainers(network, loss, batches), batches[0][0].device
    *others, fastest = [name for name in ways if name != "plain"]
    for trainer in ways.values():
        for _ in range(COMPARED_STEPS):
            trainer.step()
    losses = {name: np.array(trainer.losses) for name, trainer in ways.items()}
    runs: dict[str, Run] = {name: trainer.step for name, trainer in ways.items()}
    floors = {
        f"{name} floor": convolutions_alone(network, batches[0][0], dtype, backward=True)
        for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items()
    }
    ratios: dict[tuple[str, str], float | None] = {
        (name, f"{name.split()[0]} floor"): None for name in ways if name != "plain"
    }
    ratios |= {(name, "plain"): None for name in others} | {(fastest, "plain"): MOST_OF_PLAIN[device.type]}
    yield Group("a step of 5 slices", runs | floors, ratios, most_rounds=MOST_ROUNDS)
    plain_mib = peak_mib(runs["plain"], device)
    yield Figure("memory of plain", plain_mib, unit="MiB")
    for name in (*others, fastest):
        most = MOST_MEMORY_OF_PLAIN if name == fastest else None
        yield Figure(f"memory of {name} / plain", peak_mib(runs[name], device) / plain_mib, most)
        largest = float(np.abs(losses[name] / losses["plain"] - 1).max())
        yield Figure(f"largest relative difference of losses, {name}", largest, MOST_LOSS_DIFFERENCE)


def waiting(trainer: Trainer, parser: ConfigParser, settings: Settings) -> Figure:
    """Train on what the loader gives, and measure how long its next batch is waited for."""
    trainer.step()
    loaded = epochs(parser)
    next(loaded)  # the processes have started
    waited_s, start_s = 0.0, time.perf_counter()
    for _ in range(2 if settings.quick else WAITING_STEPS):
        before_s = time.perf_counter()
        batch = next(loaded)
        waited_s += time.perf_counter() - before_s
        trainer.step(PrepareTraining()(batch, settings.device))  # its loss is read, so a GPU has finished
    fraction = waited_s / (time.perf_counter() - start_s)
    loaded.close()
    return Figure("waiting for data, fraction of the time", fraction, MOST_WAITING)


def cache(parser: ConfigParser) -> Figure:
    """Memory of the cached cases of a data set of the size of ISLES 2018."""
    dataset = parser.get_parsed_content("train#dataset")
    cached = [dataset.cases[index] for index in range(len(dataset.data))]
    n_bytes = sum(value.nbytes for case in cached for value in case.values() if isinstance(value, Tensor))
    scans = [ScanParameters.sample(np.random.default_rng([SEED, index])) for index in range(SCANS)]
    gigabytes = n_bytes / len(dataset) * sum(scan.grid.n_slices for scan in scans) / 1e9
    return Figure(f"cache of {SCANS} cases", gigabytes, MOST_CACHE_GB, "GB")
