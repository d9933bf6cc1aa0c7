"""Switchable normalization of (5, 64, 256, 256), forward and backward, in channels-last.

Its floor is memory: the input is read for the moments and for the affine map, which writes the output; the gradient and
the input are read for two sums and for the input's gradient, which is written. That makes eight streams, and three for
the forward pass in evaluation. The plain form is that of exports.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from scripts.networks import SwitchableNorm2d

from .floors import memory_floor, plain_normalization
from .measure import Alternative, Figure, Found, Row, Run, Settings, compared, growth

HELP = "switchable normalization against memory bandwidth, BatchNorm2d and the plain form"

SHAPE, QUICK_SHAPE = (5, 64, 256, 256), (2, 16, 64, 64)
TRAINING_STREAMS, EVALUATION_STREAMS = 8, 3
OFFSET = 100.0
BATCH_NORM = "BatchNorm2d"


def measure(settings: Settings) -> Found:
    """Training in float32 and bfloat16, evaluation, and how time grows with the channels and the batch."""
    shape = QUICK_SHAPE if settings.quick else SHAPE
    items, channels, *pixels = shape
    rows = [
        row
        for dtype in (torch.float32, torch.bfloat16)
        for row in (*_training_rows(shape, dtype, settings), *_evaluation_rows(shape, dtype, settings))
    ]
    notes = [
        "Differences are those of outputs and of the input's gradient, relative where a value is above 1. In bfloat16 "
        f"the input's mean is {OFFSET:g}, where one step of the type is half a standard deviation.",
    ]
    counts = [channels // 2, channels, 2 * channels]
    grown = growth("channels", counts, lambda n: _steps((items, n, *pixels), settings), settings)
    return Found(rows, [grown], notes)


def plain_switchable(x: Tensor, layer: SwitchableNorm2d) -> Tensor:
    """The layer in ordinary operations."""
    with plain_normalization():
        return layer(x)


def _layers(channels: int, device: torch.device) -> dict[str, tuple[Callable[[Tensor], Tensor], nn.Module]]:
    ours, batch_norm = SwitchableNorm2d(channels).to(device), nn.BatchNorm2d(channels).to(device)
    plain = partial(plain_switchable, layer=ours)
    return {"ours": (ours, ours), BATCH_NORM: (batch_norm, batch_norm), "plain": (plain, ours)}


def _steps(shape: Sequence[int], settings: Settings) -> Mapping[str, Run]:
    """Forward and backward in float32 at a shape."""
    x, grad_y = _tensors(shape, torch.float32, settings.device, 0.0)
    layers = _layers(shape[1], settings.device)
    return {name: partial(_step, *layers[name], x, grad_y) for name in ("ours", BATCH_NORM)}


def _training_rows(shape: Sequence[int], dtype: torch.dtype, settings: Settings) -> list[Row]:
    half = dtype == torch.bfloat16
    x, grad_y = _tensors(shape, dtype, settings.device, OFFSET if half else 0.0)
    layers = _layers(shape[1], settings.device)
    runs = {name: partial(_step, *layer, x, grad_y) for name, layer in layers.items()}
    ours = Alternative(runs["ours"], "floor", limit=None if half else 1.6, most_mib=2.1 * x.nbytes / 2**20)
    others = {name: Alternative(run, "floor") for name, run in runs.items() if name != "ours"}
    floor = Alternative(memory_floor(x, TRAINING_STREAMS))
    prefix = f"{str(dtype).removeprefix('torch.')}, forward and backward: "
    first, *rows = compared({"ours": ours, **others, "floor": floor}, settings, plain=BATCH_NORM, prefix=prefix)
    expected = _step(*layers["plain"], x.double(), grad_y.double())[:2]
    difference = Figure(_difference(runs["ours"]()[:2], expected), 1e-2 if half else 1e-4, unit="")
    return [first._replace(figures={**first.figures, "largest difference from float64": difference}), *rows]


def _evaluation_rows(shape: Sequence[int], dtype: torch.dtype, settings: Settings) -> list[Row]:
    x, _ = _tensors(shape, dtype, settings.device, 0.0)
    layer = SwitchableNorm2d(shape[1]).to(settings.device).eval().requires_grad_(False)
    ways = {
        "ours": Alternative(partial(layer, x), "floor", limit=1.7 if dtype == torch.float32 else None),
        "floor": Alternative(memory_floor(x, EVALUATION_STREAMS)),
    }
    return compared(ways, settings, prefix=f"{str(dtype).removeprefix('torch.')}, forward in evaluation: ")


def _tensors(shape: Sequence[int], dtype: torch.dtype, device: torch.device, offset: float) -> tuple[Tensor, Tensor]:
    """Input and gradient of the output, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    x, grad_y = (torch.randn(*shape, generator=generator) for _ in range(2))
    made = [tensor.to(device, dtype, memory_format=torch.channels_last) for tensor in (x + offset, grad_y)]
    return made[0], made[1]


def _step(function: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor, grad_y: Tensor) -> tuple[Tensor, ...]:
    """Output, gradient of the input, and those of the parameters."""
    leaf = x.detach().requires_grad_()
    y = function(leaf)
    return y.detach(), *torch.autograd.grad(y, (leaf, *module.parameters()), grad_y)


def _difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference of values, relative where those expected are above 1; NaN where one is."""
    return max(
        float(((a.double() - b).abs() / b.abs().clamp(min=1)).max()) for a, b in zip(found, expected, strict=True)
    )
