"""Switchable normalization of (5, 64, 256, 256), forward and backward, in channels-last.

Its floor is memory: the input is read for the moments and for the affine map, which writes the output; the gradient and
the input are read for two sums and for the input's gradient, which is written. That makes eight streams, and three for
the forward pass in evaluation. The plain form is that of exports. Differences are those of outputs and of the input's
gradient, relative where a value is above 1. In bfloat16 the input's mean is 100, where one step of the type is half a
standard deviation.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from scripts.networks import SwitchableNorm2d

from .floors import memory_floor, plain_normalization
from .measure import Figure, Group, Run, Settings

SHAPE, QUICK_SHAPE = (5, 64, 256, 256), (2, 16, 64, 64)
TRAINING_STREAMS, EVALUATION_STREAMS = 8, 3
MOST_FLOORS = {torch.float32: (1.6, 1.7), torch.bfloat16: (None, None)}
"""The most times its floor that training and evaluation take."""
OFFSET = {torch.float32: 0.0, torch.bfloat16: 100.0}
MOST_DIFFERENCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2}


def measure(settings: Settings) -> Iterator[Group | Figure]:
    """Training and evaluation in float32 and bfloat16, and training with more and fewer channels."""
    shape = QUICK_SHAPE if settings.quick else SHAPE
    items, channels, *pixels = shape
    for dtype in (torch.float32, torch.bfloat16):
        name, (training, evaluation) = str(dtype).removeprefix("torch."), MOST_FLOORS[dtype]
        x, grad_y = tensors(shape, dtype, settings.device)
        steps = training_steps(channels, x, grad_y)
        yield Group(
            f"{name}, training",
            {"floor": memory_floor(x, TRAINING_STREAMS), **steps},
            {("ours", "floor"): training, ("ours", "BatchNorm2d"): None, ("ours", "plain"): None},
            {"ours": 2.1 * x.nbytes / 2**20, "BatchNorm2d": None, "plain": None},
        )
        exact = training_steps(channels, x.double(), grad_y.double())["plain"]()[:2]
        largest = difference(steps["ours"]()[:2], exact)
        yield Figure(f"{name}: largest difference from float64", largest, MOST_DIFFERENCE[dtype])
        layer = SwitchableNorm2d(channels).to(settings.device).eval().requires_grad_(False)
        ways: dict[str, Run] = {"ours": partial(layer, x), "floor": memory_floor(x, EVALUATION_STREAMS)}
        yield Group(f"{name}, evaluation", ways, {("ours", "floor"): evaluation})
    for count in (channels // 2, 2 * channels):
        x, grad_y = tensors((items, count, *pixels), torch.float32, settings.device)
        yield Group(f"float32, training, {count} channels", training_steps(count, x, grad_y))


def plain_switchable(x: Tensor, layer: SwitchableNorm2d) -> Tensor:
    """The layer in ordinary operations."""
    with plain_normalization():
        return layer(x)


def tensors(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Input and gradient of the output, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    x, grad_y = (torch.randn(*shape, generator=generator) for _ in range(2))
    made = [tensor.to(device, dtype, memory_format=torch.channels_last) for tensor in (x + OFFSET[dtype], grad_y)]
    return made[0], made[1]


def training_steps(channels: int, x: Tensor, grad_y: Tensor) -> dict[str, Run]:
    """Forward and backward: output, gradient of the input, and those of the parameters."""
    ours, batch_norm = SwitchableNorm2d(channels).to(x.device), nn.BatchNorm2d(channels).to(x.device)

    def step(function: Callable[[Tensor], Tensor], layer: nn.Module) -> tuple[Tensor, ...]:
        leaf = x.detach().requires_grad_()
        y = function(leaf)
        return y.detach(), *torch.autograd.grad(y, (leaf, *layer.parameters()), grad_y)

    return {
        "ours": partial(step, ours, ours),
        "BatchNorm2d": partial(step, batch_norm, batch_norm),
        "plain": partial(step, partial(plain_switchable, layer=ours), ours),
    }


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference of values, relative where those expected are above 1; NaN where one is."""
    return max(
        float(((a.double() - b).abs() / b.abs().clamp(min=1)).max()) for a, b in zip(found, expected, strict=True)
    )
