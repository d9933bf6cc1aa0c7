"""From the grid of a NIfTI file (RAS+, columns first) to planes of DICOM (LPS, slices first), and the source's grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from highdicom import Volume, VolumeGeometry
from numpy.typing import NDArray
from pydicom import Dataset

from ..io.errors import CaseError

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME_MM = 0.01
"""Positions that differ by less are one: NIfTI stores an affine as float32, DICOM positions as decimal text."""
_SKEWED = 1e-3
"""Cosine between axes from which on a grid is not that of planes that lie straight above each other."""


def planes(
    array: NDArray, affine: NDArray[np.float64], source: VolumeGeometry | None, frame_of_reference_uid: str, case: str
) -> Volume:
    """Put an image on planes: those of the source if it has the same grid in any order of its axes, else its own.

    Args:
        array: (columns, rows, slices), or with a fourth axis of segments.
        affine: (4, 4), its voxel indices to mm, RAS+.
        source: the grid of the source, see `source_grid`.
        frame_of_reference_uid: the source's.
        case: name of the case, for the message.

    Raises:
        CaseError: the axes of the grid are not perpendicular.
    """
    slices_first = np.ascontiguousarray(array.transpose(2, 1, 0, *range(3, array.ndim)))
    lps = _perpendicular((_LPS @ affine)[:, [2, 1, 0, 3]], case)
    volume = _volume(slices_first, lps, frame_of_reference_uid)
    return _on_source(volume, source) if source is not None else volume


def source_grid(positions: NDArray[np.float64], image: Dataset) -> VolumeGeometry | None:
    """The grid of equally spaced planes that lie straight above each other; None if the source's do not.

    Args:
        positions: (N, 3) ImagePositionPatient of all planes, any of them more than once, in any order.
        image: has Rows, Columns, PixelSpacing and ImageOrientationPatient.
    """
    row, column = np.asarray(image.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(row, column)
    _, first = np.unique(np.round(positions @ normal, 2), return_index=True)
    stack = positions[first]
    step = (stack[-1] - stack[0]) / (len(stack) - 1) if len(stack) > 1 else normal * float(image.SliceThickness)
    even = stack[0] + np.arange(len(stack))[:, None] * step
    tilted = np.linalg.norm(step - normal * (step @ normal)) * len(stack) > _SAME_MM
    if tilted or np.abs(stack - even).max() > _SAME_MM or abs(row @ column) > _SKEWED:
        return None
    height, width = (float(value) for value in image.PixelSpacing)  # between rows, between columns
    affine = np.eye(4)
    affine[:3] = np.stack([step, column * height, row * width, stack[0]], axis=1)
    return VolumeGeometry(
        affine=_perpendicular(affine, "source"),
        spatial_shape=(len(stack), int(image.Rows), int(image.Columns)),
        coordinate_system="PATIENT",
        frame_of_reference_uid=str(image.FrameOfReferenceUID),
    )


def _perpendicular(affine: NDArray[np.float64], case: str) -> NDArray[np.float64]:
    """The affine with axes perpendicular to the last digit: float32 and decimal text leave cosines of 1e-6."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, stretch, right = np.linalg.svd(affine[:3, :3] / spacing)
    if np.abs(stretch - 1).max() > _SKEWED:
        raise CaseError.of(case, "affine", None, "perpendicular axes of the grid", f"{affine[:3, :3].tolist()}")
    exact = affine.copy()
    exact[:3, :3] = left @ right * spacing
    return exact


def _on_source(volume: Volume, source: VolumeGeometry) -> Volume:
    """The volume in the source's order of axes and with its exact positions; as it is if it has another grid."""
    if sorted(volume.spatial_shape) != sorted(source.spatial_shape):
        return volume
    try:
        turned = volume.match_geometry(source, tol=_SAME_MM)
    except RuntimeError:  # highdicom's way to say that the grids differ
        return volume
    if _farthest_mm(turned.affine, source) > _SAME_MM:
        return volume
    return _volume(turned.array, source.affine, source.frame_of_reference_uid)


def _volume(array: NDArray, affine: NDArray[np.float64], frame_of_reference_uid: str | None) -> Volume:
    channels: Any = {"SegmentNumber": list(range(1, array.shape[3] + 1))} if array.ndim == 4 else None
    return Volume(
        array=array,
        affine=affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=frame_of_reference_uid,
        channels=channels,
    )


def _farthest_mm(affine: NDArray[np.float64], source: VolumeGeometry) -> float:
    """The largest distance between a corner of a grid and that of the source."""
    ends: Sequence[tuple[int, int]] = [(0, size - 1) for size in source.spatial_shape]
    corners = np.stack([*np.meshgrid(*ends, indexing="ij"), np.ones((2, 2, 2))]).reshape(4, -1)
    return float(np.linalg.norm(((affine - source.affine) @ corners)[:3], axis=0).max())
