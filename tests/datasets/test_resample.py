"""Resampling against ITK and against a count on a fine grid."""

from __future__ import annotations

from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest

from scripts.datasets.resample import label_onto_grid, occupancy, onto_grid, to_reference_grid

from . import trees

AFFINE, NCCT = trees.series_affine(), trees.ncct_affine()
VOXEL_ML, NCCT_VOXEL_ML = (abs(np.linalg.det(affine[:3, :3])) / 1000 for affine in (AFFINE, NCCT))


def itk_image(array: np.ndarray, affine: np.ndarray):
    """An image of ITK, whose space is LPS."""
    image = itk.image_from_array(np.ascontiguousarray(array.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
    return image


def by_itk(array: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], grid: np.ndarray, kind: str) -> np.ndarray:
    image = itk_image(array, affine)
    reference = itk_image(np.zeros(shape, array.dtype), grid)
    interpolator = getattr(itk, f"{kind}InterpolateImageFunction").New(image)
    result = itk.resample_image_filter(
        image, interpolator=interpolator, use_reference_image=True, reference_image=reference
    )
    return itk.array_from_image(result).T


def test_maps_are_those_of_itk():
    cbf = trees.volumes()["cbf"]
    expected = by_itk(cbf, NCCT, trees.SHAPE, AFFINE, "Linear")
    assert expected.max() > 2
    np.testing.assert_allclose(onto_grid(cbf, NCCT, trees.SHAPE, AFFINE), expected, atol=1e-3)


def test_an_image_on_the_same_grid_stays():
    array = np.random.default_rng(0).random((5, 6, 3), np.float32)
    np.testing.assert_array_equal(onto_grid(array, AFFINE, array.shape, AFFINE), array)
    np.testing.assert_array_equal(label_onto_grid(array > 0.5, AFFINE, array.shape, AFFINE), array > 0.5)


def test_the_label_keeps_volume_and_place():
    fine = trees.volumes()["lesion-msk"]
    label = label_onto_grid(fine, NCCT, trees.SHAPE, AFFINE)
    assert label.sum() * VOXEL_ML == pytest.approx(fine.sum() * NCCT_VOXEL_ML, rel=0.02)
    exact = trees.lesion(trees.places_mm(trees.SHAPE, AFFINE))
    assert 2 * (label & exact).sum() / (label.sum() + exact.sum()) > 0.9


def test_occupancy_is_the_mean_of_the_fine_mask():
    rng = np.random.default_rng(0)
    fine = rng.random((12, 9, 8)) > 0.6
    grid = AFFINE @ np.diag([4.0, 3.0, 2.0, 1.0])
    grid[:3, 3] = (AFFINE @ [1.5, 1.0, 0.5, 1.0])[:3]  # the center of the first 4 x 3 x 2 voxels
    expected = fine.reshape(3, 4, 3, 3, 4, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(occupancy(fine, AFFINE, (3, 3, 4), grid), expected, atol=1e-6)


@pytest.mark.parametrize(("half_mm", "shift_mm"), [(0.6, 0), (0.8, 2.9), (1.5, -3), (3, 1)])
def test_a_lesion_thinner_than_the_slices_keeps_its_volume(half_mm: float, shift_mm: float):
    places = trees.places_mm(trees.NCCT_SHAPE, np.diag([1.0, 1.0, 0.5, 1.0]))
    fine = (np.hypot(places[0] - 45, places[1] - 45) < 20) & (np.abs(places[2] - 5 - shift_mm / 4) < half_mm)
    grid = np.diag([2.0, 2.0, 8.0, 1.0])
    label = label_onto_grid(fine, np.diag([1.0, 1.0, 0.5, 1.0]), (45, 48, 3), grid)
    assert label.sum() * 32 == pytest.approx(fine.sum() * 0.5, rel=0.02)  # voxels of 32 and 0.5 mm3


def test_nothing_in_nothing_out():
    empty = np.zeros(trees.NCCT_SHAPE, bool)
    assert not label_onto_grid(empty, NCCT, trees.SHAPE, AFFINE).any()
    away = NCCT.copy()
    away[:3, 3] += 500
    assert not label_onto_grid(trees.volumes()["lesion-msk"], away, trees.SHAPE, AFFINE).any()
    assert not onto_grid(trees.volumes()["cbf"], away, trees.SHAPE, AFFINE).any()


@pytest.mark.parametrize("from_file", [False, True])
def test_a_prediction_goes_back_as_itk_brings_it(tmp_path: Path, from_file: bool):
    prediction = trees.lesion(trees.places_mm(trees.SHAPE, AFFINE)).astype(np.uint8)
    file = tmp_path / "ncct.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(trees.NCCT_SHAPE, np.int16), NCCT), file)
    result = to_reference_grid(prediction, AFFINE, file if from_file else (trees.NCCT_SHAPE, NCCT))
    expected = by_itk(prediction, AFFINE, trees.NCCT_SHAPE, NCCT, "NearestNeighbor")
    assert result.shape == expected.shape
    assert 2 * (result & expected).sum() / (result.sum() + expected.sum()) > 0.999
