"""Passes over a (N, C, H, W) CPU tensor with coefficients or sums of each item and channel, in single library kernels.

ATen's batch normalization kernels are the only ones that read a channels-last tensor once at memory speed, accumulate
in float32 and mix half-precision values with float32 coefficients; ``torch.var_mean`` is about 25 times slower there.
They work by channel, so a channels-last tensor is passed item by item and a contiguous one as a single item of N*C
channels.
"""

from collections.abc import Callable
from itertools import repeat

import torch
from torch import Tensor

_aten = torch.ops.aten
_KERNELS = ("batch_norm_update_stats", "native_batch_norm", "native_batch_norm_backward")
_PART_BYTES = 2**17  # a chunk of this size stays in the cache and costs more than a call


def kernels_exist() -> bool:
    """Whether this version of PyTorch has the kernels, which are not part of its documented interface."""
    return all(hasattr(_aten, name) for name in _KERNELS)


def _statistics_dtype(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def _memory_format(x: Tensor) -> torch.memory_format:
    channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _items(x: Tensor) -> list[Tensor]:
    """Views of ``x`` with one item each, whose channels the kernels treat as a batch normalization's."""
    if _memory_format(x) == torch.channels_last:
        return list(x.split(1))
    return [x.view(1, -1, *x.shape[2:])]


def _rows(x: Tensor, *coefficients: Tensor) -> list[tuple[Tensor, ...]]:
    """The (N, C) coefficients that go with each view of `_items`."""
    if _memory_format(x) == torch.channels_last:
        return list(zip(*(c.unbind(0) for c in coefficients), strict=True))
    return [tuple(c.reshape(-1) for c in coefficients)]


def _channel_affine(channels: int, dtype: torch.dtype) -> Callable[[Tensor, Tensor, Tensor, Tensor], None]:
    """Function of (x, scale, shift, out) with at most so many channels: ``out = x * scale + shift`` by channel.

    It is batch normalization in evaluation with mean 0 and variance 1, which are made once for all its calls.
    """
    mean, var = torch.zeros(channels, dtype=dtype), torch.ones(channels, dtype=dtype)
    unused = [torch.empty(0, dtype=dtype) for _ in range(2)]

    def affine(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
        n = len(scale)
        _aten.native_batch_norm.out(
            x, scale, shift, mean[:n], var[:n], False, 0.0, 0.0, out=out, save_mean=unused[0], save_invstd=unused[1]
        )

    return affine


def _broadcasts(x: Tensor) -> bool:
    """Whether elementwise operations vectorize over (N, C) coefficients: channels innermost, one type for all."""
    return x.dtype == _statistics_dtype(x) and _memory_format(x) == torch.channels_last


def _pixels(coefficients: Tensor) -> Tensor:
    return coefficients[:, :, None, None]


def instance_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each item and channel, shape (N, C), in float32 for half-precision ``x``."""
    x = x.contiguous(memory_format=_memory_format(x))
    items = _items(x)
    running = torch.zeros((2, items[0].shape[1]), dtype=_statistics_dtype(x))  # only tells the kernel the type
    moments = [_aten.batch_norm_update_stats(item, running[0], running[1], 0.0) for item in items]
    means, variances = zip(*moments, strict=True)
    return torch.stack(means).view(x.shape[:2]), torch.stack(variances).view(x.shape[:2])


def instance_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``x * scale + shift`` with coefficients of shape (N, C), in the type and memory format of ``x``."""
    x = x.contiguous(memory_format=_memory_format(x))
    y = torch.empty_like(x)
    if _broadcasts(x):
        return torch.addcmul(_pixels(shift), x, _pixels(scale), out=y)
    rows = _rows(x, scale, shift)
    affine = _channel_affine(len(rows[0][0]), scale.dtype)
    for item, out, (a, b) in zip(_items(x), _items(y), rows, strict=True):
        affine(item, a, b, out)
    return y


def instance_gradient_sums(grad_y: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over each item and channel of ``grad_y * (x - mean)`` and of ``grad_y``, shape (N, C), in one pass."""
    x = x.contiguous(memory_format=_memory_format(x))
    grad_y = grad_y.contiguous(memory_format=_memory_format(x))
    items = _items(x)
    ones = mean.new_ones(items[0].shape[1])
    sums = [
        _aten.native_batch_norm_backward(grad, item, ones, ones, ones, m, ones, True, 0.0, [False, True, True])
        for item, grad, (m,) in zip(items, _items(grad_y), _rows(x, mean), strict=True)
    ]
    return torch.stack([s[1] for s in sums]).view_as(mean), torch.stack([s[2] for s in sums]).view_as(mean)


def instance_input_gradient(grad_y: Tensor, x: Tensor, scale: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """``grad_y * scale + x * slope + shift`` with coefficients of shape (N, C), in the type of ``x``."""
    x = x.contiguous(memory_format=_memory_format(x))
    grad_y = grad_y.contiguous(memory_format=_memory_format(x))
    grad_x = torch.empty_like(x)
    if _broadcasts(x):
        torch.addcmul(_pixels(shift), x, _pixels(slope), out=grad_x)
        return grad_x.addcmul_(grad_y, _pixels(scale))
    channels_last = _memory_format(x) == torch.channels_last
    dim = 2 if channels_last else 1
    rows = _rows(x, scale, slope, shift)
    affine = _channel_affine(len(rows[0][0]), scale.dtype)
    nothing = torch.zeros_like(rows[0][0])
    for item, grad, out, coefficients in zip(_items(x), _items(grad_y), _items(grad_x), rows, strict=True):
        size = max(1, _PART_BYTES * item.shape[dim] // item.nbytes)
        cut = (repeat(c) if channels_last else c.split(size) for c in (*coefficients, nothing))
        for x_part, grad_part, out_part, a, p, q, zero in zip(
            *(tensor.split(size, dim) for tensor in (item, grad, out)), *cut, strict=False
        ):
            affine(x_part, p, q, out_part)
            product = torch.empty_like(grad_part)
            affine(grad_part, a, zero, product)
            out_part.add_(product)
    return grad_x
