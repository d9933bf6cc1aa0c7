"""Registration of a reference that headers put in the wrong place, against the movement that was made."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.datasets.refine import mutual_information, refine

from . import trees


def head(places: np.ndarray) -> np.ndarray:
    """A skull, brain with tissue of two kinds, ventricles beside the middle."""
    x, y, z = places
    inside = trees.brain(places)
    skull = trees.brain(places / np.array([1.08, 1.08, 1.05]).reshape(3, 1, 1, 1)) & ~inside
    hu = np.where(inside, np.where(np.sin(x / 5 + y / 11) + np.cos(z / 6 + y / 9) > 0, 38.0, 28.0), -1000.0)
    hu = np.where(((x - 6) / 5) ** 2 + ((y + 4) / 14) ** 2 + ((z - 34) / 9) ** 2 < 1, 5.0, hu)
    return np.where(skull, 800.0, hu)


def movement(degrees: float, shift_mm: tuple[float, float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift_mm
    return matrix


@pytest.mark.parametrize(("degrees", "shift_mm"), [(5.0, (4.0, -3.0, 2.0)), (0.0, (10.0, -14.0, 37.0))])
def test_a_movement_is_found(degrees: float, shift_mm: tuple[float, float, float]):
    made = movement(degrees, shift_mm)
    rng = np.random.default_rng(0)
    affine, ncct = trees.series_affine(), trees.ncct_affine()
    frame = head(trees.places_mm(trees.SHAPE, affine)) + rng.normal(0, 3, trees.SHAPE)
    reference = head(trees.places_mm(trees.NCCT_SHAPE, ncct)) + rng.normal(0, 3, trees.NCCT_SHAPE)
    found = refine(frame, affine, reference, made @ ncct)
    assert found.kept
    assert found.after > 1.2 * found.before
    points = np.array([[0, 0, 30, 1], [25, 0, 20, 1], [-25, 0, 40, 1], [0, 25, 40, 1], [0, -25, 20, 1]]).T
    assert np.linalg.norm(((found.matrix - made) @ points)[:3], axis=0).max() < 1.5  # of voxels of 2 x 2 x 8 mm


def test_what_does_not_help_is_not_kept():
    rng = np.random.default_rng(0)
    affine = trees.series_affine()
    frame = head(trees.places_mm(trees.SHAPE, affine)) + rng.normal(0, 3, trees.SHAPE)
    found = refine(frame, affine, frame, affine)
    assert not found.kept
    np.testing.assert_array_equal(found.matrix, np.eye(4))
    assert mutual_information(
        frame, affine, frame, affine + 1e3 * np.outer([1, 0, 0, 0], [0, 0, 0, 1])
    ) == pytest.approx(0)


def test_an_empty_reference_does_not_help():
    affine, frame = trees.series_affine(), head(trees.places_mm(trees.SHAPE, trees.series_affine()))
    found = refine(frame, affine, np.zeros(trees.NCCT_SHAPE), trees.ncct_affine())
    assert not found.kept
    np.testing.assert_array_equal(found.matrix, np.eye(4))
