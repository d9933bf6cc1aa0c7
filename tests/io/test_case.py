import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.io import MIN_FRAMES, CaseError, DatasetError, case_name, check_headers, load_case
from scripts.io.case import GRID_TOLERANCE_MM, grid_shift_mm

from .conftest import AFFINE, FRAMES, SHAPE, case_arrays, save


def test_loads_everything(case: dict[str, Any]) -> None:
    loaded = load_case(case | {"subject": "p3"})
    arrays = case_arrays(np.random.default_rng(0))
    assert set(loaded) == {*arrays, "case", "affine", "frame_times", "subject", "warnings"}
    assert (loaded["case"], loaded["subject"], loaded["frame_times"].value) == ("case_7", "p3", 1.0)
    np.testing.assert_allclose(loaded["affine"], AFFINE, atol=1e-5)
    for key, array in arrays.items():
        np.testing.assert_array_equal(loaded[key], array)
        assert loaded[key].dtype == (np.uint8 if key == "label" else np.float32)


def test_everything_but_the_series_is_optional(case: dict[str, Any]) -> None:
    assert set(load_case({"image": case["image"], "dwi": None})) == {
        "case",
        "image",
        "affine",
        "frame_times",
        "warnings",
    }


@pytest.mark.parametrize("shape", [(*SHAPE, FRAMES, 1), (*SHAPE, 1, FRAMES), (*SHAPE, FRAMES, 1, 1)])
def test_singleton_axes_of_a_series(tmp_path: Path, shape: tuple[int, ...]) -> None:
    series = case_arrays(np.random.default_rng(0))["image"]
    loaded = load_case({"image": save(tmp_path / "x.nii", series.reshape(shape))})["image"]
    np.testing.assert_array_equal(loaded, series)
    assert loaded.flags.f_contiguous  # a view, not a copy in another order


def test_singleton_axes_of_a_volume(case: dict[str, Any], tmp_path: Path) -> None:
    volume = np.random.default_rng(0).random(SHAPE, np.float32)
    path = save(tmp_path / "x.nii", volume[..., None])
    np.testing.assert_array_equal(load_case(case | {"cbf": path})["cbf"], volume)


def test_a_single_slice_may_come_as_2d(tmp_path: Path) -> None:
    arrays = case_arrays(np.random.default_rng(0), (6, 5, 1))
    paths = {
        "image": save(tmp_path / "x.nii", arrays["image"]),
        "label": save(tmp_path / "l.nii", arrays["label"][..., 0]),
    }
    assert load_case(paths)["label"].shape == (6, 5, 1)


SERIES = case_arrays(np.random.default_rng(0))["image"].astype(np.float32)
NAN = SERIES.copy()
NAN[0, 0, 0, :2] = np.nan, np.inf
LABEL = case_arrays(np.random.default_rng(0))["label"]


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("image", SERIES[..., 0], r"expected a 4D series \(H, W, D, T\), got 3D \(6, 5, 2\)"),
        ("image", np.stack([SERIES, SERIES], -1), r"expected a 4D series \(H, W, D, T\), got 5D"),
        ("image", SERIES[..., : MIN_FRAMES - 1], r"expected at least 12 frames, got 11 in a series \(6, 5, 2, 11\)"),
        ("image", NAN, "expected finite values, got 2 NaN or infinite of 720"),
        ("image", SERIES * 0, "expected a series with contrast, got all zeros"),
        ("image", SERIES * 0 + 7, "expected a series with contrast, got 7 everywhere"),
        ("cbf", SERIES, r"expected a 3D volume \(H, W, D\), got 4D"),
        ("tmax", NAN[..., 0], "expected finite values, got 1 NaN or infinite of 60"),
        ("mtt", SERIES[:5, ..., 0], r"expected the grid \(6, 5, 2\) of 'image', got \(5, 5, 2\)"),
        ("label", LABEL * 2, r"expected only 0 and 1 \(1 = lesion\), got also 2"),
        ("label", LABEL * 0.5, ".*got also 0.5"),
        ("label", LABEL * -1.0, ".*got also -1"),
        ("label", SERIES[..., 0], ".*got also .*, …"),
    ],
)
def test_bad_data_are_named(case: dict[str, Any], tmp_path: Path, key: str, array: np.ndarray, message: str) -> None:
    path = save(tmp_path / "bad.nii", np.asarray(array, np.float32))
    with pytest.raises(CaseError, match=rf"^case 'case_7', {key} '.*bad\.nii': {message}") as caught:
        load_case(case | {key: path})
    assert "\n" not in str(caught.value)


def test_affine_of_another_grid(case: dict[str, Any], tmp_path: Path) -> None:
    for moved, ok in ((0.9 * GRID_TOLERANCE_MM, True), (1.1 * GRID_TOLERANCE_MM, False)):
        affine = AFFINE.copy()
        affine[1, 3] += moved
        bad = case | {"tmax": save(tmp_path / "tmax2.nii", np.zeros(SHAPE, np.float32), affine)}
        if ok:
            load_case(bad)
        else:
            with pytest.raises(CaseError, match=r"case 'case_7', tmax .*expected the affine of 'image'.*0\.11 mm away"):
                load_case(bad)


def test_grid_shift_is_the_largest_over_all_voxels() -> None:
    rng = np.random.default_rng(0)
    first, second = (np.vstack([rng.normal(size=(3, 4)), [0, 0, 0, 1]]) for _ in range(2))
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1).reshape(-1, 3)
    places = [voxels @ affine[:3, :3].T + affine[:3, 3] for affine in (first, second)]
    expected = np.linalg.norm(places[0] - places[1], axis=1).max()
    assert grid_shift_mm(first, second, SHAPE) == pytest.approx(expected)


def test_label_with_the_rounding_of_a_scaled_file(case: dict[str, Any], tmp_path: Path) -> None:
    path = save(tmp_path / "l.nii", LABEL * np.float32(1.00001))
    np.testing.assert_array_equal(load_case(case | {"label": path})["label"], LABEL)


def test_empty_label_is_a_case_without_lesion(case: dict[str, Any], tmp_path: Path) -> None:
    assert load_case(case | {"label": save(tmp_path / "l.nii", LABEL * 0)})["label"].sum() == 0


def test_series_is_needed() -> None:
    with pytest.raises(CaseError, match=r"case 'x', image: expected the path of a 4D series, got a case with the keys"):
        load_case({"case": "x", "cbf": "cbf.nii"})
    with pytest.raises(CaseError, match="expected the key 'image'"):
        load_case({"cbf": "cbf.nii"})
    with pytest.raises(CaseError, match="expected the path of a file, got a list"):
        load_case({"case": "x", "image": ["a.nii"]})


def test_missing_file_names_case_and_key(case: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match=r"case 'case_7', dwi '/none\.nii': expected a file"):
        load_case(case | {"dwi": "/none.nii"})


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ({"case": "p1", "image": "x.nii"}, "p1"),
        ({"case": 3, "image": "x.nii"}, "3"),
        ({"image": "/d/TRAINING/case_7/SMIR.Brain.XX.O.CT_4DPWI.1/SMIR.Brain.XX.O.CT_4DPWI.1.nii"}, "case_7"),
        ({"image": "/d/ctp.scan.nii.gz"}, "ctp.scan"),
        ({"image": Path("/d/case_old.nii")}, "case_old"),
    ],
)
def test_case_name(case: dict[str, Any], name: str) -> None:
    assert case_name(case) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\\b", "a\nb", "a\0"])
def test_a_name_cannot_lead_to_another_folder(name: str) -> None:
    with pytest.raises(CaseError, match="expected a name that can be a folder's name"):
        case_name({"case": name, "image": "x.nii"})


def test_check_headers_lists_every_problem_of_every_case(case: dict[str, Any], tmp_path: Path) -> None:
    check_headers([case])
    short = save(tmp_path / "short.nii", SERIES[..., :5])
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no")
    cases = [
        case,
        case | {"case": "a", "image": short},
        case | {"case": "b", "dwi": "/none.nii", "label": broken},
        case | {"case": "../c"},
    ]
    with pytest.raises(DatasetError) as caught:
        check_headers(cases)
    assert len(caught.value.problems) == 4
    for part in ("4 problems:", "case 'a', image", "case 'b', dwi '/none.nii'", "case 'b', label", "case '../c'"):
        assert part in str(caught.value)


def test_errors_survive_a_worker_process() -> None:
    errors = [CaseError.of("c", "image", "x.nii", "this", "that\nand more"), DatasetError(["one", "two"])]
    for error in errors:
        again = copy.copy(error)  # by __reduce__, as multiprocessing does
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert str(type(error)(str(error))) == str(error)  # what torch's DataLoader does
