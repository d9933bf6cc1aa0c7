"""Comparing images that different programs read, by the places of their voxels in the patient (RAS+)."""

from __future__ import annotations

import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def places(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(N, 3) mm of the voxels of a mask, in one order."""
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return points[np.lexsort(np.round(points, 1).T)]


def values_at(image: np.ndarray, affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values of an image at points (N, 3) in mm, which must lie on its voxels to 0.01 mm."""
    indices = (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    nearest = np.round(indices).astype(int)
    assert np.abs((indices - nearest) @ affine[:3, :3].T).max() < 0.01
    return image[tuple(nearest.T)]


def all_places(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """(N, 3) mm of all voxels."""
    return np.argwhere(np.ones(shape, bool)) @ affine[:3, :3].T + affine[:3, 3]


def same_mask(mask: np.ndarray, affine: np.ndarray, other: np.ndarray, other_affine: np.ndarray) -> bool:
    """Whether two masks hold the same places to 0.02 mm."""
    ours, theirs = places(mask, affine), places(other, other_affine)
    return len(ours) == len(theirs) and len(ours) > 0 and bool(np.abs(ours - theirs).max() < 0.02)
