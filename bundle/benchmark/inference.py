"""A case of 8 slices of 256 x 256 pixels through `LesionInferer`, and a case from its file to its mask.

The floor is the convolutions of the network alone, slice by slice in the same type and channels-last. The plain form
takes all slices in one call of MONAI's `SliceInferer`, in float32 and contiguous tensors, with every normalisation as a
layer of its own and the plain form of switchable normalisation. Differences in probability are those from the plain
form, of random weights; in test cases of the data set, those of the shipped weights from the network as it is written,
with the mirror image, and those in Dice of the masks that `configs/evaluate.json` makes.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from monai.inferers import SliceInferer
from torch import Tensor, nn

from scripts.networks import StrokeLesionNet
from scripts.workflow import LesionInferer

from ..steps import DATALIST
from .floors import Run, convolutions_alone
from .measurement import MIB, TIMES_FASTER, TIMES_THE_FLOOR, Figure, Found, Measurement, Scaling, Settings
from .timing import Timing, alternate, peak_memory_mib
from .training import PAPER_WIDTHS, WIDTHS, PlainOutputs
from .whole_case import DICE_CASES, DIFFERENCE, PROBABILITY_TOLERANCES, dice_rows, stage_rows

HELP = "inference of a case against its convolutions and the plain form, and a case from file to mask by stage"

SLICES, PIXELS = 8, 256
MOST_ROUNDS_WIDE = 3
PLAIN = "float32, contiguous, plain"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_WIDE = 64
"""Channels of the finest level from which on a network counts as one of the paper's widths."""
_TIMES_THE_FLOOR = {"compact": {"float32": 1.45, "bfloat16": 1.8}, "paper": {"float32": 1.15, "bfloat16": 1.2}}
_TIMES_FASTER = {"compact": 3.0, "paper": 2.6}


class PlainLogits(nn.Module):
    """The logits of a network that is run as it is written."""

    def __init__(self, network: StrokeLesionNet) -> None:
        super().__init__()
        self.outputs = PlainOutputs(deepcopy(network)).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map ``image`` (N, C, H, W) to the logits (N, 2, H, W)."""
        return self.outputs(image)["logits"]


def measure(settings: Settings) -> Found:
    """Compact and paper widths, Dice, the stages of a whole case, and how time and memory grow with the slices."""
    shape = (2, 32) if settings.quick else (SLICES, PIXELS)
    rows: list[Measurement] = []
    notes: list[str] = []
    for widths in ((2, 4), (64, 64)) if settings.quick else (WIDTHS, PAPER_WIDTHS):
        rows += network_rows(widths, *shape, settings)
    if not settings.quick and (settings.dataset_dir / DATALIST).is_file():
        rows += dice_rows(settings)
        notes.append(f"Dice is that of the first {DICE_CASES} test cases, as the data set lists them.")
    else:
        notes.append("Dice was not measured: the sizes are the smallest, or there is no data set.")
    return Found([*rows, *stage_rows(settings)], [_scaling(shape, settings)], notes)


def network_rows(widths: Sequence[int], slices: int, pixels: int, settings: Settings) -> list[Measurement]:
    """A row for every way to run a network of some widths, and for its convolutions."""
    paper = widths[0] >= _WIDE
    kind = "paper" if paper else "compact"
    network = StrokeLesionNet(features=widths).to(settings.device).eval()
    move_statistics(network)
    case = random_case(network, slices, pixels, settings.device)
    runs = _runs(network, case)
    if not paper:  # twice the work, at widths that take minutes
        mirrored = {f"{name}, with the mirror image": partial(_infer, network, case, name, True) for name in TYPES}
        runs |= mirrored
    one_slice = case[..., 0].contiguous()
    floors = {
        f"floor: convolutions alone, {name}": partial(_repeat, slices, convolutions_alone(network, one_slice, dtype))
        for name, dtype in TYPES.items()
    }
    rounds = min(settings.repeats, MOST_ROUNDS_WIDE) if paper else settings.repeats
    timings = alternate({**runs, **floors}, rounds, settings.device)
    expected = runs[PLAIN]()[:, :2].softmax(1)
    rows = []
    for name, run in runs.items():
        figures = {"memory": Figure(peak_memory_mib(run, settings.device), unit=MIB)}
        if name != PLAIN:
            dtype = name.split(",")[0]
            figures |= _ratios(timings, name, dtype, kind)
        if name in TYPES:
            difference = float((run()[:, :2].softmax(1) - expected).abs().max())
            figures[DIFFERENCE] = Figure(difference, PROBABILITY_TOLERANCES[name], unit="")
        rows.append(Measurement(f"{kind} widths: {name}", timings[name], figures))
    return [*rows, *(Measurement(f"{kind} widths: {name}", timings[name], {}) for name in floors)]


def _ratios(timings: Mapping[str, Timing], name: str, dtype: str, kind: str) -> dict[str, Figure]:
    floor_ms = timings[f"floor: convolutions alone, {dtype}"].median_ms
    if name != dtype:  # with the mirror image the convolutions run twice
        return {TIMES_THE_FLOOR: Figure(timings[name].median_ms / (2 * floor_ms), _TIMES_THE_FLOOR[kind][dtype])}
    faster = timings[PLAIN].median_ms / timings[name].median_ms
    return {
        TIMES_THE_FLOOR: Figure(timings[name].median_ms / floor_ms, _TIMES_THE_FLOOR[kind][dtype]),
        TIMES_FASTER: Figure(faster, _TIMES_FASTER[kind] if dtype == "bfloat16" else None, True),
    }


def move_statistics(network: nn.Module) -> None:
    """Give batch normalisations statistics that are not those of their start: leaving them out would show."""
    generator = torch.Generator().manual_seed(0)
    for name, statistics in network.named_buffers():
        if name.endswith("running_mean"):
            statistics.copy_(0.1 * torch.randn(statistics.shape, generator=generator))
        elif name.endswith("running_var"):
            statistics.copy_(0.5 + torch.rand(statistics.shape, generator=generator))


def random_case(network: StrokeLesionNet, slices: int, pixels: int, device: torch.device) -> Tensor:
    """An input (1, C, H, W, D) in (0, 1)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, network.channels, pixels, pixels, slices, generator=generator).to(device)


def _runs(network: StrokeLesionNet, case: Tensor) -> dict[str, Callable[[], Tensor]]:
    plain: Callable[..., Any] = SliceInferer(
        spatial_dim=2, roi_size=tuple(case.shape[2:4]), sw_batch_size=case.shape[4]
    )
    return {
        PLAIN: torch.no_grad()(partial(plain, case, PlainLogits(network).to(case.device))),
        **{name: partial(_infer, network, case, name, False) for name in TYPES},
    }


def _infer(network: nn.Module, case: Tensor, dtype: str, mirror: bool) -> Tensor:
    """Logits and pseudo-DWI of a case, as an engine makes them."""
    with torch.no_grad():
        return LesionInferer(case.shape[2:4], dtype == "bfloat16", mirror)(case, network)


def _repeat(times: int, run: Run) -> None:
    for _ in range(times):
        run()


def _scaling(shape: tuple[int, int], settings: Settings) -> Scaling:
    slices, pixels = shape
    points = [1, slices] if settings.quick else [1, 2, 4, slices, 2 * slices]
    network = StrokeLesionNet(features=(2, 4) if settings.quick else WIDTHS).to(settings.device).eval()
    time_ms: dict[str, list[float]] = {}
    memory_mib: dict[str, list[float]] = {}
    for count in points:
        runs = _runs(network, random_case(network, count, pixels, settings.device))
        for name, timing in alternate(runs, min(settings.repeats, 3), settings.device).items():
            time_ms.setdefault(name, []).append(timing.median_ms)
            memory_mib.setdefault(name, []).append(peak_memory_mib(runs[name], settings.device))
    return Scaling("slices of a case", points, time_ms, memory_mib)
