"""Whole volumes of cached cases, for the training of 3D networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor

from .slice_dataset import SliceDataset


class VolumeDataset(SliceDataset):
    """The volumes of all cases, each augmented by one draw of the random transforms of a slice.

    An item is the dict of one case: ``image`` (C, H, W, D), ``label`` (1, H, W, D), ``dwi`` (1, H, W, D; zeros where
    the case has none), ``has_dwi`` (D,), plus what ``slice_transform`` adds, stacked along the same last axis. Every
    slice of the volume is transformed with the same random numbers, so that the slices stay in register and the
    configured transforms of slices serve 3D networks too; noise is the same in each slice. The draw depends on the
    seed, the epoch and the case alone.

    Cases differ in their number of slices: load one at a time (``batch_size`` 1). The arguments are those of
    :class:`SliceDataset`; :class:`SliceSampler` permutes the cases.
    """

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.data)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """Return a volume.

        Args:
            key: its index, or the epoch and the index, as :class:`SliceSampler` gives them.
        """
        epoch, index = (0, key) if isinstance(key, (int, np.integer)) else key
        item = self._item(index, ...)
        if self.slice_transform is None:
            return item
        slices = [
            self._transformed({name: tensor[..., i] for name, tensor in item.items()}, epoch, index)
            for i in range(len(item["has_dwi"]))
        ]
        return {name: torch.stack([convert_to_tensor(part[name]) for part in slices], dim=-1) for name in slices[0]}
