from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest

from bundle.__main__ import main
from scripts.io import load_datalist
from scripts.io.orientation import radiological
from scripts.report.lesion_panel import PREDICTION_COLOR, TRUTH_COLOR, choose_slices, draw_case
from tests.conftest import axial_affine


def arguments(dataset_dir: Path, results_dir: Path, *more: str) -> list[str]:
    return ["panel", "--dataset-dir", str(dataset_dir), "--results", str(results_dir), *more]


def count_pixels(picture: Path, color: str) -> int:
    """Pixels that are nearly of a color."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return int((np.abs(matplotlib.image.imread(picture)[..., :3] - wanted).max(axis=-1) < 0.1).sum())


def test_draws_the_case_and_prints_its_volumes(
    dataset_dir: Path, results_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(dataset_dir, results_dir)) == 0
    picture = results_dir / "case_2" / "case_2_panel.png"
    label = nib.load(load_datalist(dataset_dir / "datalist.json", "testing", dataset_dir)[0]["label"])
    volume_ml = label.get_fdata().sum() * 3.6 * 3.6 * 8 / 1000
    line = f"predicted lesion {volume_ml:.1f} ml, true lesion {volume_ml:.1f} ml -> {picture}\n"
    assert capsys.readouterr().out == line
    for color in (PREDICTION_COLOR, TRUTH_COLOR):
        assert count_pixels(picture, color) > 300  # the line of the legend has 170


def test_same_case_same_bytes(dataset_dir: Path, results_dir: Path, tmp_path: Path) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    for picture in pictures:
        assert main(arguments(dataset_dir, results_dir, "--case", "case_2", "--out", str(picture))) == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


@pytest.mark.parametrize("name", ["case_3", "case_4"])
def test_cases_without_dwi_or_lesion(dataset_dir: Path, results_dir: Path, name: str) -> None:
    assert main(arguments(dataset_dir, results_dir, "--case", name)) == 0
    assert (results_dir / name / f"{name}_panel.png").is_file()


def test_a_series_alone(dataset_dir: Path, results_dir: Path, tmp_path: Path) -> None:
    image = load_datalist(dataset_dir / "datalist.json", "testing", dataset_dir)[0]["image"]
    volumes = draw_case({"case": "case_2", "image": image}, results_dir, tmp_path / "x.png")
    assert list(volumes) == ["predicted lesion"]
    assert count_pixels(tmp_path / "x.png", PREDICTION_COLOR) > 300
    assert count_pixels(tmp_path / "x.png", TRUTH_COLOR) == 0


def test_unknown_case_and_missing_results(
    dataset_dir: Path, results_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(dataset_dir, results_dir, "--case", "case_9")) == 2
    message = "error: case: expected one of section 'testing' (case_2, case_3, case_4), got 'case_9'\n"
    assert capsys.readouterr().err == message
    (results_dir / "case_2" / "case_2_lesion.nii.gz").unlink()
    assert main(arguments(dataset_dir, results_dir)) == 2
    assert "case 'case_2', lesion" in capsys.readouterr().err
    assert not (results_dir / "case_2" / "case_2_panel.png").exists()


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


def test_only_the_maps_that_it_is_given_are_drawn(dataset_dir: Path, results_dir: Path, tmp_path: Path) -> None:
    """A case's own maps are not what the network saw."""
    case = load_datalist(dataset_dir / "datalist.json", "testing", dataset_dir)[0]
    assert {"cbf", "tmax"} <= case.keys()
    widths = []
    for maps in (None, {"cbf": case["cbf"]}, {"cbf": case["cbf"], "tmax": case["tmax"]}):
        draw_case(case, results_dir, tmp_path / "x.png", maps)
        widths.append(matplotlib.image.imread(tmp_path / "x.png").shape[1])
    assert np.diff(widths).tolist() == [widths[0] // 4] * 2  # CTP, pseudo-DWI, DWI and the outlines, or one more
