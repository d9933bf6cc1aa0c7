"""What headers may claim: each check trips on what it is for, and lets an ordinary header through."""

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from scripts.io import CaseError, load_case
from scripts.io.gate import HEADER_CHECKS, Check, findings, header_findings, oriented_affine
from scripts.transforms import LoadCased
from scripts.workflow import inference_cases

from .conftest import AFFINE, FRAMES, SHAPE, case_arrays


def write(path: Path, **change: Any) -> dict[str, Any]:
    """A series whose header is changed in one place; returns its case."""
    series = case_arrays(np.random.default_rng(0))["image"]
    image = nib.Nifti1Image(series, None if "codes" in change else change.get("affine", AFFINE))
    image.header.set_xyzt_units(*change.get("units", ("mm", "sec")))
    image.header["pixdim"][1:5] = (*change.get("sizes", (0.9, 0.9, 8.0)), change.get("dt", 1.0))
    if "qform" in change:
        image.set_qform(change["qform"], code=1)
    nib.save(image, path)
    return {"image": str(path)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.nii"


def header(path: Path, **change: Any) -> nib.Nifti1Header:
    return nib.load(write(path, **change)["image"]).header


MIRRORED = np.diag([-1.0, 1, 1, 1]) @ AFFINE
TRIPPED: dict[str, tuple[dict[str, Any], bool]] = {
    "orientation": ({"codes": 0}, True),
    "orientation_conflict": ({"qform": MIRRORED}, True),
    "space_unit": ({"units": ("micron", "sec")}, True),
    "pixel": ({"affine": np.diag([900.0, 900, 8, 1])}, True),
    "slice_distance": ({"affine": np.diag([0.9, 0.9, 80, 1])}, True),
    "size_conflict": ({"sizes": (0.9, 0.9, 5.0)}, False),
    "coverage": ({"affine": np.diag([0.9, 0.9, 4, 1])}, False),
    "header_interval": ({"dt": 1500.0}, False),
}


@pytest.mark.parametrize("name", TRIPPED)
def test_each_check_of_headers_trips(path: Path, name: str) -> None:
    change, fatal = TRIPPED[name]
    found = {finding.name: finding for finding in header_findings(header(path, **change))}
    assert found[name].fatal == fatal
    if fatal:
        with pytest.raises(CaseError, match=rf"case 'x', image '.*x\.nii': expected .* got .*{name}: "):
            load_case({"image": str(path)})
    else:
        loaded = LoadCased()({"image": str(path)})
        assert f"{name}: " in loaded["warnings"]


def test_an_ordinary_header_passes_every_check(path: Path) -> None:
    assert header_findings(header(path)) == []
    assert {check.name for check in HEADER_CHECKS} == {*TRIPPED, "orientation_given"}
    assert header_findings(header(path, qform=AFFINE)) == []


@pytest.mark.parametrize(
    ("unit", "dt"), [("sec", 1500.0), ("sec", 0.0015), ("msec", 1.5), ("usec", 1.5), ("msec", 1.5e6)]
)
def test_an_interval_that_no_scan_has_is_not_believed(path: Path, unit: str, dt: float) -> None:
    loaded = load_case(write(path, units=("mm", unit), dt=dt))
    assert loaded["frame_times"] is None
    assert [finding.name for finding in loaded["warnings"]] == ["header_interval"]
    assert load_case(write(path, units=("mm", "msec"), dt=1500.0))["frame_times"].value == 1.5


@pytest.mark.parametrize("codes", ["RAS", "LPS", "lai", "SPR"])
def test_the_user_says_where_the_axes_point(path: Path, codes: str) -> None:
    case = write(path, codes=0)
    loaded = load_case(case | {"orientation": codes})
    assert "".join(nib.aff2axcodes(loaded["affine"])) == codes.upper()
    np.testing.assert_allclose(np.linalg.norm(loaded["affine"][:3, :3], axis=0), (0.9, 0.9, 8.0), rtol=1e-6)
    middle = loaded["affine"] @ [*((np.array(SHAPE) - 1) / 2), 1]
    np.testing.assert_allclose(middle, [0, 0, 0, 1], atol=1e-9)
    (case,) = inference_cases(path, "none.json", "testing", ".", codes)
    output = LoadCased()(case)
    np.testing.assert_allclose(output["image"].affine.numpy(), loaded["affine"])
    assert "orientation_given: " in output["warnings"]
    assert "orientation_given: " in LoadCased(orientation=codes)({"image": str(path)})["warnings"]


def test_an_orientation_that_fits_neither_letters_nor_header_is_refused(path: Path) -> None:
    for codes in ("RAP", "RA", "xyz", "RASL"):
        with pytest.raises(ValueError, match="orientation must be three letters such as RAS or LPS, got"):
            LoadCased(orientation=codes)
    case = write(path)
    with pytest.raises(CaseError, match="orientation must be what the header tells, LPS, got RAS"):
        load_case(case | {"orientation": "RAS"})
    assert np.allclose(load_case(case | {"orientation": "LPS"})["affine"], AFFINE, atol=1e-5)


def test_forms_that_differ_by_a_registration_agree_and_mirrored_ones_do_not(path: Path) -> None:
    angle = math.radians(30)
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    assert header_findings(header(path, qform=turn @ AFFINE)) == []
    (found,) = header_findings(header(path, qform=MIRRORED))
    assert (found.name, round(found.value)) == ("orientation_conflict", 180)
    given = oriented_affine(header(path, qform=MIRRORED), "LAS")
    assert nib.aff2axcodes(given) == ("L", "A", "S")


def test_the_map_of_a_series_passes_the_same_gate(tmp_path: Path) -> None:
    case = write(tmp_path / "x.nii")
    volume = nib.Nifti1Image(np.ones(SHAPE, np.float32), None)
    volume.header["pixdim"][1:4] = (0.9, 0.9, 8.0)
    nib.save(volume, tmp_path / "cbf.nii")
    with pytest.raises(CaseError, match=r"case 'x', cbf '.*cbf\.nii': .* orientation: 0"):
        load_case(case | {"cbf": str(tmp_path / "cbf.nii")})


def test_one_voxel_that_is_no_ct_number_is_refused(path: Path) -> None:
    series = case_arrays(np.random.default_rng(0))["image"].astype(np.float32)
    series[2, 2, 0, FRAMES // 2] = 3e38
    nib.save(nib.Nifti1Image(series, AFFINE), path)
    with pytest.raises(CaseError, match=r"expected CT numbers, got values: 3e\+38 HU \(limit 1e\+05\)"):
        load_case({"image": str(path)})


def test_a_check_warns_beyond_the_inner_bounds_and_refuses_beyond_the_outer() -> None:
    check = Check("size", "size", "mm", "here", warn=(1, 2), refuse=(0.5, 3))
    judged = [check.judge(value) for value in (0.4, 0.9, 1, 2, 2.1, 3.1, math.nan)]
    assert [None if j is None else (j.limit, j.fatal) for j in judged] == [
        (0.5, True), (1, False), None, None, (2, False), (3, True), (3, True),
    ]  # fmt: skip
    assert check.judge(0.9, fatal_only=True) is None
    with pytest.raises(KeyError):
        findings([check], {"other": 1.0})
