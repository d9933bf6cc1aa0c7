"""What thresholds of the maps reach on the phantom."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.phantom.cohort import generate_cohort
from scripts.phantom.thresholds import report, threshold_dice

AFFINE = np.diag([10.0, 10.0, 5.0, 1.0])  # a voxel is half a millilitre


def write(folder: Path, **volumes: np.ndarray) -> dict[str, str]:
    for key, values in volumes.items():
        nib.save(nib.Nifti1Image(np.asarray(values, np.float32), AFFINE), folder / f"{key}.nii")
    return {"case": "one", **{key: f"{key}.nii" for key in volumes}}


def test_dice_by_hand(tmp_path: Path) -> None:
    """Normal tissue, with Tmax up to 4 s, has a mean flow of 40, so the core lies below 12."""
    tmax = np.array([1.0, 2.0, 7.0, 9.0, 8.0, 0.0]).reshape(6, 1, 1)
    cbf = np.array([50.0, 30.0, 11.0, 13.0, 12.5, 0.0]).reshape(6, 1, 1)
    label = np.array([0, 0, 1, 1, 0, 0]).reshape(6, 1, 1)
    case = write(tmp_path, cbf=cbf, tmax=tmax, label=label)
    found = threshold_dice(tmp_path, [case])
    assert found.shape == (1, 3)
    assert found[0] == pytest.approx([1.0, 2 / 3, 4 / 5])


def test_single_voxels_count(tmp_path: Path) -> None:
    """The smallest lesions are part of what the phantom asks for; no cluster is dropped for its size."""
    tmax, cbf = np.ones((4, 4, 2)), np.full((4, 4, 2), 50.0)
    tmax[1, 1, 1], cbf[1, 1, 1] = 9.0, 5.0
    case = write(tmp_path, cbf=cbf, tmax=tmax, label=tmax > 6)
    assert threshold_dice(tmp_path, [case])[0] == pytest.approx([0.5, 1.0, 1.0])


def test_dice_is_undefined_without_a_lesion(tmp_path: Path) -> None:
    maps = np.ones((4, 4, 2))
    case = write(tmp_path, cbf=maps, tmax=maps, label=0 * maps)
    assert np.array_equal(threshold_dice(tmp_path, [case]), [[0.0, np.nan, np.nan]], equal_nan=True)


def test_report_of_lesion_free_cases():
    assert report(np.array([[0.0, np.nan, np.nan]])) == "cases 1, without lesion 1"
    text = report(np.array([[5.0, 0.2, 0.3], [60.0, 0.4, 0.5], [0.0, np.nan, np.nan]]))
    assert "median 32.5 ml, 50% below 10 ml, 50% above 50 ml" in text
    assert "mean Dice 0.300" in text
    assert "mean Dice 0.400" in text


@pytest.mark.slow
def test_thresholds_are_neither_useless_nor_enough(tmp_path):
    """On ISLES 2018 thresholds reach a Dice of about 0.3."""
    sections = generate_cohort(tmp_path / "band", (0, 0, 30), 21, matrix=64, workers=2, with_dwi=False)
    rows = threshold_dice(tmp_path / "band", sections["testing"])
    lesions = rows[rows[:, 0] > 0]
    assert 0.2 < lesions[:, 1].mean() < 0.45
    assert 0.2 < lesions[:, 2].mean() < 0.45
    assert 5.0 < np.median(lesions[:, 0]) < 35.0
