"""The pictures for viewers that open no masks: what is drawn where, and on what."""

from __future__ import annotations

import dataclasses
import hashlib

import nibabel as nib
import numpy as np
import pytest

from scripts.dicom.overlay import overlays
from scripts.dicom.segmentation import segments_of
from tests.dicom.simple_ct import axial_affine, make_results

SHAPE = (32, 40, 5)
LESION, ORANGE, BLUE = (255, 79, 216), (255, 106, 19), (86, 180, 233)
TOP, SCALE = 26, 16  # of the picture below the statement; 512 / 32 columns


def pictures(results) -> list[np.ndarray]:
    return list(overlays(results, segments_of(results)))


def colored(picture: np.ndarray, rgb) -> np.ndarray:
    """Where a picture has a color, without the lines of text above and below."""
    return (picture[TOP : TOP + SCALE * SHAPE[1]] == rgb).all(axis=2)


def series_of(results, frames: np.ndarray, tmp_path):
    """The results with a series on disk, of which they record the right SHA-256."""
    path = tmp_path / "series.nii"
    nib.save(nib.Nifti1Image(frames, results.affine), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return dataclasses.replace(results, record=dict(results.record, series={"path": str(path), "sha256": digest}))


def one_voxel(results, place) -> None:
    """Make the lesion one voxel, and the other masks empty."""
    for name in ("lesion", "core", "delay"):
        mask = np.zeros(SHAPE, np.uint8)
        mask[place] = name == "lesion"
        nib.save(nib.Nifti1Image(mask, results.affine), results.file(name))


def test_a_voxel_on_the_patient_s_right_front_is_drawn_left_and_up(tmp_path):
    results = make_results(tmp_path / "case_a", axial_affine(), SHAPE)
    one_voxel(results, (2, 5, 3))  # the first columns lie on the right, the first rows in front
    drawn = pictures(results)
    assert not colored(drawn[0], LESION).any()
    rows, columns = np.nonzero(colored(drawn[3], LESION))
    assert (rows.min(), rows.max() + 1) == (5 * SCALE, 6 * SCALE)
    left = (drawn[3].shape[1] - SHAPE[0] * SCALE) // 2
    assert (columns.min() - left, columns.max() + 1 - left) == (2 * SCALE, 3 * SCALE)


def test_flipped_storage_gives_the_same_picture(tmp_path):
    results = make_results(tmp_path / "case_a", axial_affine(), SHAPE)
    one_voxel(results, (2, 5, 3))
    expected = pictures(results)
    for name in ("lesion", "core", "delay", "pseudo_dwi"):
        image = nib.load(results.file(name))
        nib.save(image.as_reoriented([[0, -1], [1, -1], [2, -1]]), results.file(name))
    flipped = dataclasses.replace(results, affine=nib.load(results.file("lesion")).affine)
    assert np.array_equal(pictures(flipped), expected)


def test_pixels_are_as_high_as_wide(tmp_path):
    results = make_results(tmp_path / "case_a", axial_affine((1.0, 2.0, 8.0)), SHAPE)
    picture = pictures(results)[0]
    assert picture.shape[0] - 5 * TOP == 2 * SCALE * SHAPE[1]


def test_masks_are_outlines_the_lesion_on_top(tmp_path):
    results = make_results(tmp_path / "case_a", axial_affine(), SHAPE)
    picture = pictures(results)[3]
    areas = [colored(picture, color).sum() for color in (LESION, ORANGE, BLUE)]
    assert min(areas) > 0
    assert max(areas) < 0.2 * (results.volume("lesion")[..., 3] > 0).sum() * SCALE**2


def test_the_ground_is_the_series_before_contrast(tmp_path):
    frames = np.zeros((*SHAPE, 4), np.int16)
    frames[..., :2] = 40  # of 0 to 80 HU; two frames before contrast
    frames[..., 2:] = 1000
    results = series_of(make_results(tmp_path / "case_a", axial_affine(), SHAPE, empty=True), frames, tmp_path)
    picture = pictures(results)[0]
    assert tuple(picture[TOP + 200, picture.shape[1] // 2]) == (127, 127, 127)


@pytest.mark.parametrize("change", ["gone", "another"])
def test_another_series_is_not_the_ground(tmp_path, change):
    frames = np.full((*SHAPE, 4), 80, np.int16)
    results = series_of(make_results(tmp_path / "case_a", axial_affine(), SHAPE, empty=True), frames, tmp_path)
    assert (pictures(results)[0][TOP + 40 : TOP + 400, 40:400] == 255).all()
    path = tmp_path / "series.nii"
    if change == "gone":
        path.unlink()
    else:
        nib.save(nib.Nifti1Image(frames - 1, results.affine), path)
    assert not (pictures(results)[0][TOP + 40 : TOP + 400, 40:400] == 255).all()
