from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest

from scripts.io import load_case, write_nifti
from scripts.io.orientation import radiological
from scripts.report.lesion_panel import PREDICTION_COLOR, TRUTH_COLOR, choose_slices, describe, draw_case
from tests.conftest import axial_affine


@pytest.fixture
def cases(write_case: Callable[..., dict[str, str]]) -> dict[str, dict[str, str]]:
    """Three labeled cases, of which the second has no DWI and the third no lesion."""
    empty = np.zeros((64, 64, 3), bool)
    return {
        f"case_{i}": write_case(f"case_{i}", seed=i, dwi=i != 3, lesion=empty if i == 4 else None) for i in (2, 3, 4)
    }


@pytest.fixture
def results_dir(cases: dict[str, dict[str, str]], tmp_path: Path) -> Path:
    """What inference would write: the label one pixel off, and for one case a pseudo-DWI."""
    folder = tmp_path / "eval"
    for name, case in cases.items():
        loaded = load_case(case)
        write_nifti(folder / name / f"{name}_lesion.nii.gz", np.roll(loaded["label"], 1, axis=0), loaded["affine"])
        if name == "case_2":
            write_nifti(folder / name / f"{name}_pseudo_dwi.nii.gz", loaded["dwi"], loaded["affine"])
    return folder


def count_pixels(picture: Path, color: str) -> int:
    """Pixels that are nearly of a color."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return int((np.abs(matplotlib.image.imread(picture)[..., :3] - wanted).max(axis=-1) < 0.1).sum())


def test_draws_the_case_and_returns_its_volumes(cases: dict[str, dict[str, str]], results_dir: Path) -> None:
    picture = results_dir / "a.png"
    volumes = draw_case(cases["case_2"], results_dir, picture)
    volume_ml = nib.load(cases["case_2"]["label"]).get_fdata().sum() * 3.6 * 3.6 * 8 / 1000
    assert volumes == {"predicted lesion": pytest.approx(volume_ml), "true lesion": pytest.approx(volume_ml)}
    assert describe(volumes) == f"predicted lesion {volume_ml:.1f} ml, true lesion {volume_ml:.1f} ml"
    for color in (PREDICTION_COLOR, TRUTH_COLOR):
        assert count_pixels(picture, color) > 300  # the line of the legend has 170
    draw_case(cases["case_2"], results_dir, results_dir / "b.png")
    assert picture.read_bytes() == (results_dir / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["case_3", "case_4"])
def test_cases_without_dwi_or_lesion(cases: dict[str, dict[str, str]], results_dir: Path, name: str) -> None:
    draw_case(cases[name], results_dir, results_dir / "a.png")
    assert (results_dir / "a.png").is_file()


def test_a_series_alone(cases: dict[str, dict[str, str]], results_dir: Path) -> None:
    picture = results_dir / "a.png"
    volumes = draw_case({"case": "case_2", "image": cases["case_2"]["image"]}, results_dir, picture)
    assert list(volumes) == ["predicted lesion"]
    assert count_pixels(picture, PREDICTION_COLOR) > 300
    assert count_pixels(picture, TRUTH_COLOR) == 0


def test_missing_results_are_named(cases: dict[str, dict[str, str]], results_dir: Path) -> None:
    (results_dir / "case_2" / "case_2_lesion.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="case 'case_2', lesion"):
        draw_case(cases["case_2"], results_dir, results_dir / "a.png")
    assert not (results_dir / "a.png").exists()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAI", "RPS"])
def test_slices_are_seen_as_radiologists_see_them(codes: str) -> None:
    """The same place of the head is at the same place of the picture, whatever the order of the voxels."""
    affine = axial_affine((2.0, 2.0, 5.0), codes)
    image = np.zeros((10, 12, 4))
    # The corner that lies most to the patient's right, to the front and to the feet.
    corner = [-1 if code == towards else 0 for code, towards in zip(codes, "RAI", strict=True)]
    image[tuple(corner)] = 1
    turned = radiological(image, affine)
    assert turned.shape == (12, 10, 4)
    assert turned[0, 0, 0] == 1


def test_slices_with_the_largest_lesion_are_chosen_in_order() -> None:
    prediction = np.zeros((8, 8, 6), bool)
    prediction[:2, :2, 4], prediction[:5, :5, 1] = True, True
    truth = np.zeros((8, 8, 6))
    truth[:7, :7, 3] = 1
    assert choose_slices(prediction, truth) == [1, 3, 4]
    assert choose_slices(prediction, None, 1) == [1]
    assert choose_slices(prediction & False, None) == [1, 2, 3]
    assert choose_slices(prediction[..., :2], None) == [0, 1]


def test_only_the_maps_that_it_is_given_are_drawn(
    cases: dict[str, dict[str, str]], results_dir: Path, tmp_path: Path
) -> None:
    """A case's own maps are not what the network saw."""
    case = cases["case_2"]
    assert {"cbf", "tmax"} <= case.keys()
    widths = []
    for maps in (None, {"cbf": case["cbf"]}, {"cbf": case["cbf"], "tmax": case["tmax"]}):
        draw_case(case, results_dir, tmp_path / "x.png", maps)
        widths.append(matplotlib.image.imread(tmp_path / "x.png").shape[1])
    assert np.diff(widths).tolist() == [widths[0] // 4] * 2  # CTP, pseudo-DWI, DWI and the outlines, or one more
