"""Switchable normalization (Luo et al., "Differentiable Learning-to-Normalize via Switchable Normalization", 2018).

A layer mixes the statistics of instance, layer and batch normalization with learned softmax weights, apart for the mean
and the variance. All three follow from the moments ``m``, ``v`` of each item and channel::

    instance: m, v    layer: mean_c(m), mean_c(v) + var_c(m)    batch: mean_n(m), mean_n(v) + var_n(m)

so the input is read once for the moments and once for a single affine map per item and channel. The variances are sums
of non-negative terms, never ``E[x^2] - E[x]^2``, and are held in float32 for half-precision inputs.
"""

from typing import Any

import torch
from monai.networks.layers.factories import Norm
from torch import Tensor, nn

from .moment_kernels import (
    instance_affine,
    instance_gradient_sums,
    instance_input_gradient,
    instance_moments,
    kernels_exist,
)


def batch_moments(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) of each channel over a batch, from those of its items, each of shape (N, C)."""
    batch_mean = mean.mean(0)
    return batch_mean, var.mean(0) + (mean - batch_mean).square().mean(0)


def mixed_affine(
    mean: Tensor,
    var: Tensor,
    batch_mean: Tensor | None,
    batch_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean_weight: Tensor,
    var_weight: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Coefficients of switchable normalization as the map ``y = (x - mean) * scale + shift``.

    Args:
        mean: means of each item and channel, shape (N, C).
        var: biased variances of each item and channel, shape (N, C).
        batch_mean: batch means to use, shape (C,), or None to take them from ``mean``.
        batch_var: batch variances to use, shape (C,), or None to take them from ``mean`` and ``var``.
        weight: scale of the normalized values, shape (C,).
        bias: shift of the normalized values, shape (C,).
        mean_weight: logits of the mean's weights for (instance, layer, batch), shape (3,).
        var_weight: logits of the variance's weights for (instance, layer, batch), shape (3,).
        eps: added to the mixed variance.

    Returns:
        ``scale`` and ``shift``, each of shape (N, C) and of the moments' type.
    """
    layer_mean = mean.mean(1, keepdim=True)
    layer_var = var.mean(1, keepdim=True) + (mean - layer_mean).square().mean(1, keepdim=True)
    if batch_mean is None or batch_var is None:
        batch_mean, batch_var = batch_moments(mean, var)
    mean_mix = torch.softmax(mean_weight.to(mean.dtype), 0)
    var_mix = torch.softmax(var_weight.to(mean.dtype), 0)
    mixed_mean = mean_mix[0] * mean + mean_mix[1] * layer_mean + mean_mix[2] * batch_mean.to(mean.dtype)
    mixed_var = var_mix[0] * var + var_mix[1] * layer_var + var_mix[2] * batch_var.to(mean.dtype)
    scale = weight.to(mean.dtype) * torch.rsqrt(mixed_var + eps)
    return scale, bias.to(mean.dtype) + (mean - mixed_mean) * scale


def plain_switchable_norm(
    x: Tensor,
    batch_mean: Tensor | None,
    batch_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean_weight: Tensor,
    var_weight: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Switchable normalization in ordinary differentiable operations: scriptable, exportable, on any device.

    Args are those of `mixed_affine`, with ``x`` of shape (N, C, H, W).

    Returns:
        The normalized tensor in the type of ``x``, and the moments' mean and variance, each of shape (N, C).
    """
    half = x.dtype == torch.float16 or x.dtype == torch.bfloat16
    values = x.float() if half else x
    var, mean = torch.var_mean(values, dim=[2, 3], correction=0)
    scale, shift = mixed_affine(mean, var, batch_mean, batch_var, weight, bias, mean_weight, var_weight, eps)
    y = (values - mean[:, :, None, None]) * scale[:, :, None, None] + shift[:, :, None, None]
    return y.to(x.dtype), mean, var


class _FusedSwitchableNorm(torch.autograd.Function):
    """Forward in one affine pass and backward in one reduction and one elementwise pass, from given moments of ``x``.

    Apart from the input only (N, C) tensors are saved. ``mean`` and ``var`` enter as constants; the backward pass
    accounts for their dependence on ``x``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        batch_mean: Tensor | None,
        batch_var: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        mean_weight: Tensor,
        var_weight: Tensor,
        eps: float,
    ) -> Tensor:
        scale, shift = mixed_affine(mean, var, batch_mean, batch_var, weight, bias, mean_weight, var_weight, eps)
        ctx.save_for_backward(x, mean, var, batch_mean, batch_var, weight, bias, mean_weight, var_weight)
        ctx.eps = eps
        return instance_affine(x, scale, shift - mean * scale)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, var, batch_mean, batch_var, *parameters = ctx.saved_tensors
        weight, bias, mean_weight, var_weight = parameters
        if torch.is_grad_enabled():  # a graph of this backward pass is wanted: differentiate the plain form
            y, _, _ = plain_switchable_norm(x, batch_mean, batch_var, weight, bias, mean_weight, var_weight, ctx.eps)
            grads = torch.autograd.grad(y, (x, *parameters), grad_y, create_graph=True)
            return grads[0], None, None, None, None, *grads[1:], None

        grad_scale, grad_shift = instance_gradient_sums(grad_y, x, mean)
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (mean, var, *parameters)]
            m, v, w, b, mean_w, var_w = leaves
            scale, shift = mixed_affine(m, v, batch_mean, batch_var, w, b, mean_w, var_w, ctx.eps)
        grad_mean, grad_var, *grad_parameters = torch.autograd.grad((scale, shift), leaves, (grad_scale, grad_shift))
        grad_mean = grad_mean - scale.detach() * grad_shift  # through the mean that is subtracted from x
        grad_x = None
        if ctx.needs_input_grad[0]:
            values = x.shape[2] * x.shape[3]
            slope = grad_var * (2.0 / values)
            grad_x = instance_input_gradient(grad_y, x, scale.detach(), slope, grad_mean / values - slope * mean)
        return grad_x, None, None, None, None, *grad_parameters, None


class SwitchableNorm2d(nn.Module):
    """Switchable normalization of a (N, C, H, W) tensor; a drop-in for ``torch.nn.BatchNorm2d``.

    In training the batch part uses the current batch and updates the running statistics (``running = (1 - momentum) *
    running + momentum * batch``, with the biased variance that was mixed); in evaluation it uses the running ones,
    while the instance and layer parts always come from the input.

    A batch of one item is valid: its batch statistics equal its instance statistics. With distributed data parallel
    every process normalizes with its own items, as Luo et al. do, and the running statistics kept are those of rank 0,
    as for ``BatchNorm2d``; `scripts.networks.synchronized_norm.with_synchronized_norms` makes all processes one
    batch.

    The layer is registered in MONAI's ``Norm`` factory: ``get_norm_layer("switchable", 2, channels)``.

    Args:
        num_features: number of channels C.
        eps: added to the mixed variance.
        momentum: weight of the new batch in the running statistics.

    Example:
        >>> SwitchableNorm2d(8)(torch.rand(2, 8, 16, 16)).shape
        torch.Size([2, 8, 16, 16])
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        if num_features < 1:
            raise ValueError(f"num_features must be at least 1, got {num_features}.")
        if eps <= 0:
            raise ValueError(f"eps must be positive, got {eps}.")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1], got {momentum}.")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.running_mean: Tensor
        self.running_var: Tensor

    def extra_repr(self) -> str:
        """Arguments shown when the module is printed."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``x``.

        Args:
            x: tensor of shape (N, num_features, H, W), N, H and W at least 1.

        Returns:
            Tensor of the same shape and type.

        Raises:
            ValueError: when the shape is another or the tensor is empty.
        """
        self._check_input(x)
        batch_mean: Tensor | None = None if self.training else self.running_mean
        batch_var: Tensor | None = None if self.training else self.running_var
        if torch.jit.is_scripting():
            plain = True
        else:
            plain = not _fused_applies(x)
        if plain:
            y, mean, var = plain_switchable_norm(
                x, batch_mean, batch_var, self.weight, self.bias, self.mean_weight, self.var_weight, self.eps
            )
        else:
            y, mean, var = self._fused(x, batch_mean, batch_var)
        if self.training:
            batch_mean, batch_var = batch_moments(mean.detach(), var.detach())
            self._update_running_statistics(batch_mean, batch_var)
        return y

    def _check_input(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != self.num_features:
            raise ValueError(f"x must have shape (N, {self.num_features}, H, W), got {list(x.shape)}.")
        if x.numel() == 0:
            raise ValueError(f"x must not be empty, got shape {list(x.shape)}.")

    @torch.jit.unused
    def _fused(self, x: Tensor, batch_mean: Tensor | None, batch_var: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = instance_moments(x.detach())
        y = _FusedSwitchableNorm.apply(
            x, mean, var, batch_mean, batch_var, self.weight, self.bias, self.mean_weight, self.var_weight, self.eps
        )
        return y, mean, var

    def _update_running_statistics(self, batch_mean: Tensor, batch_var: Tensor) -> None:
        with torch.no_grad():
            self.running_mean.mul_(1.0 - self.momentum).add_(batch_mean, alpha=self.momentum)
            self.running_var.mul_(1.0 - self.momentum).add_(batch_var, alpha=self.momentum)


@torch.jit.unused
def _fused_applies(x: Tensor) -> bool:
    """Whether the kernels accept ``x`` (they drop MONAI's subclass), and the operations are not being traced."""
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
        and kernels_exist()
    )


@Norm.factory_function("switchable")
def switchable_factory(dim: int) -> type[SwitchableNorm2d]:
    """Switchable normalization for MONAI's ``Norm`` factory; two spatial dimensions only."""
    if dim != 2:
        raise ValueError(f"switchable normalization exists for 2 spatial dimensions, got {dim}.")
    return SwitchableNorm2d
