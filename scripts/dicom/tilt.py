"""Images of a tilted gantry, moved within their planes so that the slices form a right-angled stack."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import TOLERANCE_MM, Geometry
from .pixels import AIR_HU


def straighten(hu: NDArray[Any], geometry: Geometry) -> NDArray[np.float64]:
    """Shift each slice, in place, onto a grid whose third axis is the normal of the slices.

    The middle slice stays where it is. What comes from outside of the image is air. Between pixels, values are those of
    the cubic of Keys 1981 (a = -0.5), which keeps more of the detail and of the noise than a linear one.

    Args:
        hu: (columns, rows, slices, frames) HU.
        geometry: where the slices lie.

    Returns:
        (4, 4) affine of the result, LPS; that of `geometry` where the slices already form such a stack.
    """
    affine = geometry.affine.copy()
    shear_mm, n_slices = geometry.shear_mm, hu.shape[2]
    if np.abs(shear_mm).max() * (n_slices - 1) <= TOLERANCE_MM:
        return affine
    size_mm = np.linalg.norm(affine[:3, :2], axis=0)
    axes = affine[:3, :2] / size_mm
    middle = (n_slices - 1) // 2
    center = affine[:3, 3] + middle * affine[:3, 2]
    affine[:3, 2] -= axes @ shear_mm
    affine[:3, 3] = center - middle * affine[:3, 2]
    for index in range(n_slices):
        for axis in (0, 1):
            shift = (index - middle) * float(shear_mm[axis] / size_mm[axis])
            if shift:
                _shift(hu[:, :, index], axis, shift)
    return affine


def _shift(frames: NDArray[Any], axis: int, pixels: float) -> None:
    """Move the content of (columns, rows, frames) images by so many pixels along an axis, in place."""
    whole = math.floor(pixels)
    weights = _cubic(pixels - whole)
    reach = abs(whole) + 2
    for index in range(frames.shape[2]):
        image = frames[:, :, index]
        pad = [(reach, reach) if own == axis else (0, 0) for own in (0, 1)]
        padded = np.pad(image.astype(np.float32), pad, constant_values=AIR_HU)
        moved = np.zeros(image.shape, dtype=np.float32)
        for step, weight in zip((-2, -1, 0, 1), weights, strict=True):
            start = reach - whole + step
            moved += np.float32(weight) * np.take(padded, np.arange(start, start + image.shape[axis]), axis=axis)
        image[...] = np.rint(moved) if image.dtype.kind == "i" else moved


def _cubic(fraction: float) -> tuple[float, float, float, float]:
    """Weights of the pixels 2 before, 1 before, at, and 1 after the one that moves by a fraction of a pixel."""
    t = 1 - fraction  # where between the pixel 1 before (0) and the pixel at (1) the value is taken
    return (
        -0.5 * t**3 + t**2 - 0.5 * t,
        1.5 * t**3 - 2.5 * t**2 + 1,
        -1.5 * t**3 + 2 * t**2 + 0.5 * t,
        0.5 * t**3 - 0.5 * t**2,
    )
