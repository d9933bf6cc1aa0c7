"""Helpers of the losses: reduction, precision, and the optional attention map."""

import inspect

from monai.utils import LossReduction
from torch import Tensor, nn


def reduce_items(values: Tensor, reduction: str) -> Tensor:
    """Reduce ``values`` (N,) by "mean", "sum" or "none".

    Raises:
        ValueError: when ``reduction`` is another.
    """
    reduction = LossReduction(reduction)
    if reduction == LossReduction.MEAN:
        return values.mean()
    if reduction == LossReduction.SUM:
        return values.sum()
    return values


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor, converted to float32 if it has half precision or integers: sums over an image need float32."""
    return tensor if tensor.is_floating_point() and tensor.element_size() >= 4 else tensor.float()


def check_image(name: str, tensor: Tensor, like: Tensor, channels: int) -> None:
    """Check that ``tensor`` is a batch of images with ``channels`` channels and the batch and image size of ``like``.

    Raises:
        ValueError: when it is not.
    """
    expected = (like.shape[0], channels, *like.shape[2:])
    if tuple(tensor.shape) != expected:
        raise ValueError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}.")


def with_attention(loss: nn.Module, prediction: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Call ``loss`` with the attention map A where its ``forward`` has a parameter ``weight``, else without.

    So the losses of PyTorch and MONAI, which take no map, can replace ours.
    """
    if "weight" in inspect.signature(loss.forward).parameters:
        return loss(prediction, target, weight=weight)
    return loss(prediction, target)
