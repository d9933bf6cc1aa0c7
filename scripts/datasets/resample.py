"""From one grid to another through world coordinates: images linearly, labels by occupancy, masks by nearest voxel."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from ..io.nifti import open_nifti

Shape = tuple[int, ...]

VOLUME_TOLERANCE = 0.02
"""By how much the volume of a label may change."""


def onto_grid(volume: NDArray, affine: NDArray, shape: Shape, grid_affine: NDArray) -> NDArray[np.float32]:
    """Interpolate an image linearly at the voxel centers of a grid; 0 outside of the image.

    Args:
        volume: (H, W, D).
        affine: (4, 4) of `volume`, voxel indices to mm.
        shape: of the grid, (3,).
        grid_affine: (4, 4) of the grid.

    Returns:
        float32, of `shape`.
    """
    result = np.zeros(shape, dtype=np.float32)
    volume = np.asarray(volume, dtype=np.float32)
    for k, places in enumerate(_slice_places(shape, _between(affine, grid_affine))):
        inside = _inside(places, volume.shape)
        result[..., k][inside] = map_coordinates(volume, places[:, inside], order=1, mode="nearest")
    return result


def label_onto_grid(label: NDArray, affine: NDArray, shape: Shape, grid_affine: NDArray) -> NDArray[np.uint8]:
    """Bring a binary label onto a grid: the voxels of which at least half is labeled.

    Where that changes the volume by more than 2 %, as for a lesion thinner than the slices of the grid, the voxels with
    the highest occupancy are taken, as many as make up the volume.

    Args:
        label: (H, W, D), 0 and 1.
        affine: (4, 4) of `label`.
        shape: of the grid, (3,).
        grid_affine: (4, 4) of the grid.

    Returns:
        uint8, of `shape`.
    """
    occupied = occupancy(label, affine, shape, grid_affine)
    result = occupied >= 0.5
    wanted = float(occupied.sum())
    if abs(result.sum() - wanted) > VOLUME_TOLERANCE * wanted:
        count = max(1, round(wanted))
        result = np.zeros(occupied.size, dtype=bool)
        result[np.argsort(-occupied, axis=None, kind="stable")[:count]] = True
        result = result.reshape(occupied.shape) & (occupied > 0)
    return result.astype(np.uint8)


def occupancy(label: NDArray, affine: NDArray, shape: Shape, grid_affine: NDArray) -> NDArray[np.float32]:
    """The labeled fraction of each voxel of a grid, by at least two points per voxel of the label along each axis.

    Arguments as of :func:`label_onto_grid`.
    """
    label = np.asarray(label) > 0
    result = np.zeros(shape, dtype=np.float32)
    box = _box(label, affine, shape, grid_affine)
    if box is None:
        return result
    to_label = _between(affine, grid_affine)
    counts = [max(1, int(np.ceil(2 * np.abs(to_label[:3, axis]).max()))) for axis in range(3)]
    offsets = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    part = result[box]
    for offset in product(*offsets):
        shift = np.eye(4)
        shift[:3, 3] = np.add(offset, [edge.start for edge in box])
        part += _nearest(label, part.shape, to_label @ shift)
    part /= np.prod(counts)
    return result


def to_reference_grid(
    mask: NDArray, affine: NDArray, reference: str | PathLike[str] | tuple[Shape, NDArray]
) -> NDArray[np.uint8]:
    """Bring a mask on the grid of a series onto that of a reference image, by the nearest voxel.

    Args:
        mask: (H, W, D), 0 and 1.
        affine: (4, 4) of `mask`.
        reference: a NIfTI file, such as the non-contrast CT; or its shape and its affine.

    Returns:
        uint8, of the shape of the reference.

    Raises:
        FileNotFoundError, CaseError: the reference cannot be read.
    """
    if isinstance(reference, tuple):
        shape, grid_affine = reference
    else:
        image = open_nifti(reference, case="reference", key="reference")
        shape, grid_affine = image.shape[:3], image.affine
    return _nearest(np.asarray(mask) > 0, shape, _between(affine, grid_affine)).astype(np.uint8)


def _between(affine: NDArray, grid_affine: NDArray) -> NDArray[np.float64]:
    """From the voxel indices of a grid to those of an image."""
    return np.linalg.solve(np.asarray(affine, dtype=np.float64), np.asarray(grid_affine, dtype=np.float64))


def _slice_places(shape: Shape, matrix: NDArray) -> Iterator[NDArray]:
    """For each slice of a grid, the places (3, H, W) of its voxels in an image."""
    plane = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), axis=-1)
    start = plane @ matrix[:3, :2].T + matrix[:3, 3]
    return (np.moveaxis(start + k * matrix[:3, 2], -1, 0) for k in range(shape[2]))


def _inside(places: NDArray, shape: Shape) -> NDArray[np.bool_]:
    """Which places lie in a voxel of an image; rounding may take those on its border to either side."""
    size = np.reshape(shape, (3, 1, 1))
    inside: NDArray[np.bool_] = np.all((places >= -0.5) & (places < size - 0.5), axis=0)
    return inside


def _nearest(mask: NDArray[np.bool_], shape: Shape, matrix: NDArray) -> NDArray[np.bool_]:
    result = np.zeros(shape, dtype=bool)
    for k, places in enumerate(_slice_places(shape, matrix)):
        inside = _inside(places, mask.shape)
        result[..., k][inside] = mask[tuple(np.floor(places[:, inside] + 0.5).astype(np.intp))]
    return result


def _box(label: NDArray, affine: NDArray, shape: Shape, grid_affine: NDArray) -> tuple[slice, ...] | None:
    """The part of a grid that a label can touch; None if it touches none."""
    found = np.argwhere(label)
    if not len(found):
        return None
    corners = np.array(list(product(*zip(found.min(axis=0) - 0.5, found.max(axis=0) + 0.5, strict=True), [1.0])))
    places = (_between(grid_affine, affine) @ corners.T)[:3]
    low = np.clip(np.floor(places.min(axis=1)).astype(int) - 1, 0, shape)
    high = np.clip(np.ceil(places.max(axis=1)).astype(int) + 2, 0, shape)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)) if (low < high).all() else None
