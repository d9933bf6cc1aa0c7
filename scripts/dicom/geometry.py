"""Where the images of a series lie: slices by the normal of their planes, and the affine (PS3.3, section C.7.6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import DicomError
from .sample import Sample

TOLERANCE_MM = 0.1
"""How far images of one slice, or slices of one stack, may lie from their places: scanners write tenths of a mm."""

_DIRECTION_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-3
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Geometry:
    """A stack of equally spaced, parallel slices."""

    slice_of: NDArray[np.intp]
    """(samples,) index of the slice of each image, along the normal."""
    affine: NDArray[np.float64]
    """(4, 4) indices of column, row and slice to mm, LPS. With a tilted gantry the slices are sheared."""

    @property
    def n_slices(self) -> int:
        """How many slices there are."""
        return int(self.slice_of.max()) + 1

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """The affine in mm, RAS."""
        return _LPS_TO_RAS @ self.affine

    @property
    def shear_mm(self) -> NDArray[np.float64]:
        """(2,) how far a slice is shifted against the one before, along a row and along a column of the image."""
        axes = self.affine[:3, :2] / np.linalg.norm(self.affine[:3, :2], axis=0)
        return axes.T @ self.affine[:3, 2]


def find_geometry(samples: Sequence[Sample]) -> Geometry:
    """Find the slices of images and their affine.

    Raises:
        DicomError: matrix, spacing or orientation differ between images; images of one slice lie apart, or are few;
            slices are not at equal distances, as where one is missing. The instance is named.
    """
    _check_matrices(samples)
    row, column = _directions(samples)
    normal = np.cross(row, column)
    positions = np.array([sample.position_mm for sample in samples])
    depth_mm = positions @ normal
    order = np.argsort(depth_mm, kind="stable")
    slice_of = np.empty(len(samples), dtype=np.intp)
    slice_of[order] = np.cumsum(np.diff(depth_mm[order], prepend=depth_mm[order[0]]) > TOLERANCE_MM)
    counts = np.bincount(slice_of)
    if 2 * counts.min() < counts.max():
        sample = samples[int(np.flatnonzero(slice_of == counts.argmin())[0])]
        expected = f"{counts.max()} images at the place of each slice, as others have"
        raise DicomError.at(sample.place, expected, f"{counts.min()} at the place of this one")
    centers = np.array([np.median(positions[slice_of == index], axis=0) for index in range(slice_of.max() + 1)])
    _check_places(samples, positions, centers[slice_of])
    step = _step(samples, slice_of, centers, normal)
    affine = np.eye(4)
    between_rows, between_columns = samples[0].spacing_mm
    affine[:3] = np.column_stack([row * between_columns, column * between_rows, step, centers[0]])
    return Geometry(slice_of, affine)


def _check_matrices(samples: Sequence[Sample]) -> None:
    """Raise DicomError, naming the first image of another matrix or spacing than most have."""
    shapes = [(sample.pixels.rows, sample.pixels.columns) for sample in samples]
    usual = max(set(shapes), key=shapes.count)
    for sample, shape in zip(samples, shapes, strict=True):
        if shape != usual:
            expected = f"{usual[0]} x {usual[1]} pixels, as others have"
            raise DicomError.at(sample.place, expected, f"{shape[0]} x {shape[1]}")
    spacing_mm = np.array([sample.spacing_mm for sample in samples])
    middle = np.median(spacing_mm, axis=0)
    for sample, size in zip(samples, spacing_mm, strict=True):
        if not (size > 0).all():
            raise DicomError.at(sample.place, "PixelSpacing above 0", size.tolist())
        if (np.abs(size - middle) > _SPACING_TOLERANCE * middle).any():
            raise DicomError.at(sample.place, f"PixelSpacing {middle.tolist()}, as others have", size.tolist())


def _directions(samples: Sequence[Sample]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The unit vectors along a row and along a column, which all images share."""
    orientations = np.array([sample.orientation for sample in samples])
    middle = np.median(orientations, axis=0)
    for sample, values in zip(samples, orientations, strict=True):
        if np.abs(values - middle).max() > _DIRECTION_TOLERANCE:
            got = np.round(values, 4).tolist()
            raise DicomError.at(sample.place, f"the orientation {np.round(middle, 4).tolist()} of the others", got)
    row, column = middle[:3], middle[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=1e-2) or abs(row @ column) > 1e-2:
        got = np.round(middle, 4).tolist()
        raise DicomError.at(samples[0].place, "ImageOrientationPatient of two perpendicular unit vectors", got)
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _check_places(samples: Sequence[Sample], positions: NDArray, expected: NDArray) -> None:
    apart_mm = np.linalg.norm(positions - expected, axis=1)
    worst = int(np.argmax(apart_mm))
    if apart_mm[worst] > TOLERANCE_MM:
        raise DicomError.at(
            samples[worst].place, "the position of the other images of its slice", f"one {apart_mm[worst]:.3g} mm away"
        )


def _step(samples: Sequence[Sample], slice_of: NDArray, centers: NDArray, normal: NDArray) -> NDArray[np.float64]:
    """The vector from a slice to the next."""
    if len(centers) == 1:
        if not samples[0].thickness_mm > 0:
            raise DicomError.at(samples[0].place, "SliceThickness above 0 of a single slice", "none")
        return normal * samples[0].thickness_mm
    step = (centers[-1] - centers[0]) / (len(centers) - 1)
    away_mm = np.linalg.norm(centers - (centers[0] + np.arange(len(centers))[:, None] * step), axis=1)
    if away_mm.max() > TOLERANCE_MM:
        gaps_mm = np.linalg.norm(np.diff(centers, axis=0), axis=1)
        usual_mm = float(np.median(gaps_mm))
        worst = int(np.argmax(np.abs(gaps_mm - usual_mm))) + 1
        sample = samples[int(np.flatnonzero(slice_of == worst)[0])]
        expected = f"slices at equal distances, the next {usual_mm:.4g} mm after the last, as others"
        raise DicomError.at(sample.place, expected, f"{gaps_mm[worst - 1]:.4g} mm; a slice may be missing")
    return step
