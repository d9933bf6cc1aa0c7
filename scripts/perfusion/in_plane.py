"""Pixels of about 0.9 mm for the estimate, and the way back to those of the series."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .masked_grid import Spacing
from .volumes import PerfusionVolumes

RESOLVED_MM = 0.9
"""What a CT-perfusion image resolves at best: smooth kernels at 80 kV have half of their contrast at 0.5 line pairs per
mm, and maps are smoothed by several mm. Pixels of 0.8 to 1.04 mm, as in ISLES 2018, stay as they are."""

_FRAMES_AT_ONCE = 4
_MAPS = ("cbf", "cbv", "mtt", "tmax", "ttp", "cbf_sd", "cbv_sd", "tmax_sd", "baseline")


class InPlaneGrid:
    """Groups of pixels whose means have about 0.9 mm, along each axis of the slices.

    Args:
        shape: (H, W, D) of the series.
        spacing_mm: its voxel size.

    Attributes:
        factor: pixels in a group along H and W; 1 and 1 leave everything as it is.
        spacing_mm: voxel size of the groups.
    """

    def __init__(self, shape: tuple[int, ...], spacing_mm: Spacing) -> None:
        self.shape = shape
        self.factor = tuple(max(1, round(RESOLVED_MM / size_mm)) for size_mm in spacing_mm[:2])
        self.spacing_mm: Spacing = (spacing_mm[0] * self.factor[0], spacing_mm[1] * self.factor[1], spacing_mm[2])

    def reduced(self, series: Tensor) -> Tensor:
        """Means over the groups of a series (T, H, W, D); the last group of an axis may hold fewer pixels."""
        if self.factor == (1, 1):
            return series
        size = [-(-count // factor) for count, factor in zip(self.shape[:2], self.factor, strict=True)]
        as_stored = torch.empty((len(series), series.shape[3], size[1], size[0]), device=series.device)
        reduced = as_stored.permute(0, 3, 2, 1)  # the order in memory of a series from a NIfTI file
        for start in range(0, len(series), _FRAMES_AT_ONCE):
            part = slice(start, start + _FRAMES_AT_ONCE)
            reduced[part] = self._means(series[part].float())
        return reduced

    def reduced_mask(self, mask: Tensor) -> Tensor:
        """Groups of which at least half of the pixels are in a mask (H, W, D).

        Raises:
            ValueError: the mask, which is that of the brain, has another shape.
        """
        if tuple(mask.shape) != self.shape:
            raise ValueError(f"brain must have shape {self.shape}, got {tuple(mask.shape)}")
        return mask if self.factor == (1, 1) else self._means((mask != 0).float()[None])[0] >= 0.5

    def reduced_vessels(self, mask: Tensor) -> Tensor:
        """Groups with at least one pixel of a boolean mask (H, W, D)."""
        return mask if self.factor == (1, 1) else self._means(mask.float()[None])[0] > 0

    def restored(self, volumes: PerfusionVolumes, brain: Tensor | None) -> PerfusionVolumes:
        """Maps and masks on the pixels of the series; a brain that was given stays as it is."""
        if self.factor == (1, 1):
            return volumes
        arterial = volumes.arterial._replace(
            aif_mask=self._repeated(volumes.arterial.aif_mask), vof_mask=self._repeated(volumes.arterial.vof_mask)
        )
        whole = self._repeated(volumes.brain) if brain is None else (brain != 0).to(volumes.brain.device)
        outside = ~whole
        found: dict[str, Any] = {
            name: self._interpolated(value).masked_fill_(outside, 0.0)
            for name in _MAPS
            if (value := getattr(volumes, name)) is not None
        }
        tissue = self._repeated(volumes.tissue) & whole
        return volumes._replace(**found, brain=whole, tissue=tissue, arterial=arterial)

    def _means(self, frames: Tensor) -> Tensor:
        """Means (T, h, w, D) over groups of frames (T, H, W, D)."""
        as_stored = frames.permute(0, 3, 2, 1)
        return F.avg_pool2d(as_stored, self.factor[::-1], ceil_mode=True).permute(0, 3, 2, 1)

    def _interpolated(self, volume: Tensor) -> Tensor:
        """A volume (h, w, D) on the pixels, by lines between the middles of the groups."""
        size = [count * factor for count, factor in zip(volume.shape[:2], self.factor, strict=True)]
        planes = F.interpolate(volume.permute(2, 0, 1)[None], size=size, mode="bilinear", align_corners=False)
        return planes[0].permute(1, 2, 0)[: self.shape[0], : self.shape[1]]

    def _repeated(self, mask: Tensor) -> Tensor:
        """A mask (h, w, D) on the pixels."""
        for axis in (0, 1):
            mask = mask.repeat_interleave(self.factor[axis], dim=axis)
        return mask[: self.shape[0], : self.shape[1]]
