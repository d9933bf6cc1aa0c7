"""What the machine can do at best: memory bandwidth, matrix products, and a network's convolutions run alone."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .timing import CPU, Timing, alternate, run_ms

COPIED_MIB: Sequence[int] = (64, 128, 256)
MATRIX_SIZES: Sequence[int] = (512, 1024, 2048)
CONVOLUTION_SHAPES: Sequence[tuple[int, int]] = ((64, 64), (128, 128), (256, 32), (512, 16))
"""Channels, and pixels along each side, of convolutions that do many operations for each value read."""
Convolution = nn.Conv2d | nn.ConvTranspose2d
Run = Callable[[], object]
_COPY = "copy of {} MiB"
_REPEATS = 5


def machine_floors(device: torch.device = CPU, quick: bool = False) -> dict[str, float]:
    """The best rates of a device in float32 and bfloat16, by what is done and the unit.

    Args:
        device: where.
        quick: take the smallest sizes, not the best.
    """
    part = slice(0, 1) if quick else slice(None)
    rates = {"copy (GB/s)": bandwidth(alternate(copies(device, COPIED_MIB[part]), _REPEATS, device)) / 1e9}
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        rates[f"{name} matrix product (GFLOP/s)"] = matrix_rate(dtype, device, MATRIX_SIZES[part]) / 1e9
        rates[f"{name} convolution (GFLOP/s)"] = convolution_rate(dtype, device, CONVOLUTION_SHAPES[part]) / 1e9
    return rates


def copies(device: torch.device = CPU, sizes_mib: Sequence[int] = COPIED_MIB) -> dict[str, Run]:
    """Functions that copy buffers beyond the caches, to be timed beside what memory limits."""
    return {_COPY.format(size): _copying(size, device) for size in sizes_mib}


def _copying(size_mib: int, device: torch.device) -> Run:
    source = torch.zeros(size_mib * 2**18, device=device)
    return partial(torch.ones_like(source).copy_, source)


def bandwidth(timings: Mapping[str, Timing]) -> float:
    """Bytes read and written in a second by the fastest of the :func:`copies` among what was timed."""
    sizes = {name: size for size in COPIED_MIB if (name := _COPY.format(size)) in timings}
    return max(2 * 2**20 * size / timings[name].median_ms * 1000 for name, size in sizes.items())


def memory_floor_ms(streams: int, n_bytes: int, timings: Mapping[str, Timing]) -> float:
    """Least time in ms to read or write so many bytes so many times.

    Args:
        streams: how often.
        n_bytes: of a tensor.
        timings: what was timed with the :func:`copies` among it.
    """
    return 1000 * streams * n_bytes / bandwidth(timings)


def matrix_rate(dtype: torch.dtype, device: torch.device = CPU, sizes: Sequence[int] = MATRIX_SIZES) -> float:
    """Most floating-point operations a second in the product of two square matrices."""
    best = 0.0
    for size in sizes:
        left, right = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
        best = max(best, 2 * size**3 / _fastest_s(partial(torch.mm, left, right), device))
    return best


def convolution_rate(
    dtype: torch.dtype,
    device: torch.device = CPU,
    shapes: Sequence[tuple[int, int]] = CONVOLUTION_SHAPES,
) -> float:
    """Most floating-point operations a second in a 3 x 3 channels-last convolution."""
    best = 0.0
    for channels, pixels in shapes:
        image = torch.rand(1, channels, pixels, pixels, device=device).to(dtype, memory_format=torch.channels_last)
        weight = torch.rand(channels, channels, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
        operations = 2 * 9 * channels**2 * pixels**2
        run = torch.inference_mode()(partial(F.conv2d, image, weight, padding=1))
        best = max(best, operations / _fastest_s(run, device))
    return best


def _fastest_s(function: Callable[[], object], device: torch.device) -> float:
    """Time in s of the fastest of some runs: a floor is what the machine can do when nothing disturbs it."""
    function()
    return min(run_ms(function, device) for _ in range(_REPEATS)) / 1000


def convolutions_alone(
    network: nn.Module, image: Tensor, dtype: torch.dtype = torch.float32, *, backward: bool = False
) -> Run:
    """A function that runs a network's convolutions and nothing else: the same shapes, channels-last.

    To be timed beside the network: the time of the convolutions is the limit of what all else can be brought to.

    Args:
        network: may hold convolutions and transposed convolutions; one that is called twice counts twice.
        image: the network's input; the sizes of all feature maps follow from it.
        dtype: of weights and feature maps.
        backward: take their gradients too, the input's where the network does.
    """
    network = deepcopy(network).eval()  # a training network's running statistics must not change
    calls: list[tuple[Convolution, torch.Size, bool]] = []

    def collect(module: Convolution, inputs: tuple[Tensor, ...]) -> None:
        calls.append((module, inputs[0].shape, inputs[0].requires_grad))

    handles = [
        module.register_forward_pre_hook(collect)
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    ]
    with torch.set_grad_enabled(backward):
        network(image)
    for handle in handles:
        handle.remove()
    inputs = {
        shape: torch.rand(shape, device=image.device).to(dtype, memory_format=torch.channels_last)
        for shape in {shape for _, shape, _ in calls}
    }
    runs = [
        partial(_run_convolution, _convolution(module, dtype), inputs[shape], backward, needs_grad)
        for module, shape, needs_grad in calls
    ]
    return partial(_run_all, runs)


def _run_all(runs: Sequence[Run]) -> None:
    for run in runs:
        run()


def _run_convolution(module: nn.Module, x: Tensor, backward: bool, input_gradient: bool) -> None:
    if not backward:
        with torch.inference_mode():
            module(x)
        return
    leaf = x.detach().requires_grad_(input_gradient)
    y = module(leaf)
    torch.autograd.grad(y, [leaf] * input_gradient + list(module.parameters()), y.detach())


def _convolution(module: Convolution, dtype: torch.dtype) -> nn.Module:
    """A convolution with weights of its own in the type."""
    copied = deepcopy(module).to(dtype)
    copied.weight.data = copied.weight.data.contiguous(memory_format=torch.channels_last)
    return copied
