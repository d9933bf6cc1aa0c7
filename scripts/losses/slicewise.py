"""Losses of 2D slices for 3D networks."""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn


class SlicewiseLoss(nn.Module):
    """A loss of slices, such as `StrokeLesionLoss`, applied to all slices of a volume.

    A 3D network is trained with the loss of the 2D networks that it is compared with.

    Args:
        loss: a loss of (outputs, targets), both dicts of tensors with one item a slice.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    @property
    def terms(self) -> dict[str, Tensor]:
        """The detached terms of the last call, by name."""
        return cast(dict[str, Tensor], self.loss.terms)

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Any]) -> Tensor:
        """Loss of volumes whose entries have the slices as their last axis: (N, C, H, W, D), or (N, D)."""
        return self.loss(_slices(outputs), _slices(targets))


def _slices(volumes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Every tensor (N, ..., D) as (N * D, ...)."""
    return {name: volume.movedim(-1, 1).flatten(0, 1) for name, volume in volumes.items() if isinstance(volume, Tensor)}
