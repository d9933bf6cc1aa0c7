"""Volumes as a radiologist looks at them: which way up, which part, and which slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from ..io.orientation import radiological

if TYPE_CHECKING:
    from torch import Tensor

_MARGIN_MM = 4.0


class View(NamedTuple):
    """How to look at the volumes of a grid: a box around the brain, and the slices to show."""

    affine: NDArray[np.float64]
    rows: slice
    columns: slice
    pixel_mm: tuple[float, float]
    """Height and width of a pixel."""
    slices: tuple[int, ...]
    """From the feet to the head."""
    labels: tuple[int, ...]
    """Their indices in the file."""

    def strip(self, volume: Tensor) -> NDArray:
        """The shown slices of a volume (H, W, D), next to each other: (rows, slices x columns)."""
        cells = radiological(volume.cpu().numpy(), self.affine)[self.rows, self.columns][..., list(self.slices)]
        return cells.swapaxes(1, 2).reshape(len(cells), -1)

    def slices_of(self, mask: Tensor) -> list[int]:
        """Indices in the file of all slices that hold a voxel of a mask (H, W, D), shown or not."""
        return np.flatnonzero(np.moveaxis(mask.cpu().numpy(), _slice_axis(self.affine), 0).any(axis=(1, 2))).tolist()


def view_of(brain: Tensor, core: Tensor, delayed: Tensor, affine: NDArray[np.float64], most: int) -> View:
    """The brain's box, and up to `most` slices, see `choose_slices`."""
    axes = io_orientation(affine)
    size_mm = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(axes[:, 0])]
    inside = radiological(brain.cpu().numpy(), affine)
    rows = _extent(np.any(inside, axis=(1, 2)), size_mm[1])
    columns = _extent(np.any(inside, axis=(0, 2)), size_mm[0])
    areas = [radiological(mask.cpu().numpy(), affine).sum(axis=(0, 1)) for mask in (core, delayed)]
    slices = choose_slices(areas[0], areas[1], np.any(inside, axis=(0, 1)), most)
    along = _slice_axis(affine)
    depth = inside.shape[2]
    labels = tuple(index if axes[along, 1] > 0 else depth - 1 - index for index in slices)
    return View(affine, rows, columns, (float(size_mm[1]), float(size_mm[0])), slices, labels)


def choose_slices(core: NDArray, delayed: NDArray, brain: NDArray, most: int) -> tuple[int, ...]:
    """Slices in order: with a lesion those with the largest areas, each in parts of its largest; else evenly spaced.

    Args:
        core: (D,) area of the core in each slice.
        delayed: (D,) area of the delay.
        brain: (D,) whether there is brain.
        most: number of slices to choose.
    """
    if delayed.any():
        weight = delayed / delayed.max() + core / max(core.max(), 1)
        center = (weight * np.arange(len(weight))).sum() / weight.sum()
        order = sorted(range(len(weight)), key=lambda index: (-weight[index], abs(index - center)))
        return tuple(sorted(order[:most]))
    inside = np.flatnonzero(brain) if brain.any() else np.arange(len(brain))
    places = np.linspace(0, len(inside) - 1, min(len(inside), most)).round().astype(int)
    return tuple(int(inside[place]) for place in places)


def _slice_axis(affine: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(io_orientation(affine)[:, 0] == 2)[0])


def _extent(inside: NDArray, size_mm: float) -> slice:
    where = np.flatnonzero(inside)
    if not len(where):
        return slice(0, len(inside))
    margin = round(_MARGIN_MM / size_mm)
    return slice(max(int(where[0]) - margin, 0), int(where[-1]) + 1 + margin)
