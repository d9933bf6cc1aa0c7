"""Normalization whose batch is that of all processes of a distributed training.

PyTorch's ``SyncBatchNorm`` takes CUDA tensors only and has no switchable normalization. The layers here give, on any
device and for both kinds, the values, gradients and running statistics of one process with all items.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from .switchable_norm import SwitchableNorm2d, mixed_affine


def process_count() -> int:
    """The number of processes of the default group, 1 without one."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; its gradient is the sum of those of all processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> Tensor:
        return _SumOverProcesses.apply(grad_total)


def batch_moments_of_all(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and biased variance (C,) over the items of all processes, and the number of these items.

    The variance is, as in `scripts.networks.switchable_norm`, a sum of terms that are not negative.

    Args:
        mean: means of each item and channel in this process, shape (N, C); N may differ between processes.
        var: their biased variances, shape (N, C).
    """
    sums = _SumOverProcesses.apply(torch.cat([mean.sum(0), mean.new_tensor([len(mean)])]))
    items = sums[-1].detach()
    batch_mean = sums[:-1] / items
    batch_var = _SumOverProcesses.apply((var + (mean - batch_mean).square()).sum(0)) / items
    return batch_mean, batch_var, float(items)


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` in float32 at least, and the mean and biased variance (N, C) of each item and channel."""
    values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    var, mean = torch.var_mean(values, dim=[2, 3], correction=0)
    return values, mean, var


class SynchronizedSwitchableNorm2d(SwitchableNorm2d):
    """`SwitchableNorm2d` that takes its batch statistics, in training, over the items of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``x`` (N, num_features, H, W).

        Raises:
            ValueError: when the shape is another or the tensor is empty.
        """
        if not self.training or process_count() == 1:
            return super().forward(x)
        self._check_input(x)
        values, mean, var = _moments(x)
        batch_mean, batch_var, _ = batch_moments_of_all(mean, var)
        scale, shift = mixed_affine(
            mean, var, batch_mean, batch_var, self.weight, self.bias, self.mean_weight, self.var_weight, self.eps
        )
        self._update_running_statistics(batch_mean.detach(), batch_var.detach())
        y = (values - mean[:, :, None, None]) * scale[:, :, None, None] + shift[:, :, None, None]
        return y.to(x.dtype)


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` that takes its statistics, in training, over the items of all processes.

    The slices of all processes have one size.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``x`` (N, num_features, H, W)."""
        if not self.training or process_count() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        values, mean, var = _moments(x)
        batch_mean, batch_var, items = batch_moments_of_all(mean, var)
        self._update_running_statistics(batch_mean.detach(), batch_var.detach(), items * x.shape[2] * x.shape[3])
        scale = self.weight * torch.rsqrt(batch_var + self.eps)
        shift = self.bias - batch_mean * scale
        return (values * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    def _update_running_statistics(self, batch_mean: Tensor, batch_var: Tensor, pixels: float) -> None:
        momentum = 0.1 if self.momentum is None else self.momentum
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(batch_mean, momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(batch_var * pixels / (pixels - 1), momentum)  # type: ignore[union-attr]


def with_synchronized_norms(network: nn.Module, enabled: bool = True) -> nn.Module:
    """Let the batch and switchable normalizations of a network take their batch over all processes.

    Parameters, buffers and their names are unchanged, so optimizers and checkpoints stay valid.

    Args:
        network: changed in place.
        enabled: if False, nothing changes: each process normalizes with its own items.

    Returns:
        The network; when it is itself such a layer, the layer that takes its place.
    """
    if not enabled:
        return network
    if type(network) is SwitchableNorm2d:
        return _like(SynchronizedSwitchableNorm2d(network.num_features, network.eps, network.momentum), network)
    if type(network) is nn.BatchNorm2d and network.affine and network.track_running_stats:
        return _like(SynchronizedBatchNorm2d(network.num_features, network.eps, network.momentum), network)
    for name, child in network.named_children():
        setattr(network, name, with_synchronized_norms(child))
    return network


def _like(layer: nn.Module, other: nn.Module) -> nn.Module:
    """``layer`` with the parameters, the buffers and the mode of ``other``."""
    layer._parameters, layer._buffers = other._parameters, other._buffers
    return layer.train(other.training)
