"""From a DICOM study to a case on disk, and through the commands."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.dicom import detect
from scripts.dicom.convert import converted
from scripts.io.errors import CaseError
from scripts.workflow import inference_cases
from scripts.workflow.case_dataset import FAILURE, CaseDataset
from tests.dicom import vendors


@pytest.fixture
def study(tmp_path: Path) -> Path:
    scan = vendors.jog_times(vendors.scan(slices=4, dt_s=2.0))
    return vendors.write(tmp_path / "study", vendors.datasets(scan, vendors.philips_jog(scan)))


def test_the_case_has_a_series_and_a_sidecar(study: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="scripts.dicom"):
        case = converted(study, tmp_path / "out")
    folder = tmp_path / "out" / case["case"]
    assert case["case"].startswith("ctp-")
    assert len(case["case"]) == 12
    assert sorted(file.name for file in folder.iterdir()) == [f"{case['case']}_ctp.json", f"{case['case']}_ctp.nii"]
    image, truth = nib.load(case["image"]), vendors.jog_times(vendors.scan(slices=4, dt_s=2.0))
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj), truth.hu)
    np.testing.assert_allclose(image.affine, truth.affine, atol=1e-4)
    assert image.header["pixdim"][4] == 2.0
    sidecar = json.loads((folder / f"{case['case']}_ctp.json").read_text())
    assert sidecar["FrameTimesStart"] == [2.0 * frame for frame in range(14)]
    np.testing.assert_allclose(sidecar["SliceTimesStart"], truth.times_s, atol=2e-6)
    assert sidecar["SeriesInstanceUID"]
    written = caplog.text + json.dumps(sidecar) + Path(case["image"]).read_bytes()[:352].decode("latin-1")
    assert not any(value in written for value in vendors.PATIENT.values() if len(value) > 1)
    before = Path(case["image"]).read_bytes()
    assert converted(study, tmp_path / "out") == case
    assert Path(case["image"]).read_bytes() == before


def test_uneven_times_are_in_the_sidecar_alone(tmp_path: Path) -> None:
    scan = vendors.scan()
    scan.times_s[:, 9:] += 3.0
    study = vendors.write(tmp_path / "study", vendors.datasets(scan, vendors.siemens(scan)))
    case = converted(study, tmp_path / "out", identify=True)
    assert case["case"] == "ID-4711"
    sidecar = json.loads(Path(case["image"]).with_suffix(".json").read_text())
    assert "SliceTimesStart" not in sidecar
    np.testing.assert_allclose(sidecar["FrameTimesStart"], scan.times_s[0])
    assert nib.load(case["image"]).header["pixdim"][4] == 0


@pytest.mark.parametrize("identifier", ["../up", "", "a/b", "CON", ".", "x" * 300])
def test_an_identifier_that_is_no_folder_s_name(tmp_path: Path, identifier: str) -> None:
    scan = vendors.scan()
    study = vendors.write(
        tmp_path / "study",
        vendors.datasets(scan, vendors.siemens(scan), lambda d, i, f: setattr(d, "PatientID", identifier)),
    )
    case = converted(study, tmp_path / "out", identify=True)
    assert Path(case["image"]).parent.parent == tmp_path / "out"
    assert Path(case["image"]).is_file()


def test_what_is_taken_for_dicom(study: Path, tmp_path: Path) -> None:
    file = next(study.iterdir())
    assert detect.is_dicom(study)
    assert detect.is_dicom(file)
    bare = tmp_path / "bare"
    bare.write_bytes(file.read_bytes()[132:])  # without a preamble, as some PACS export
    assert detect.is_dicom(bare)
    (tmp_path / "text").write_text("2 words of text, longer than the preamble of a file" * 9)
    for other in (tmp_path / "text", tmp_path / "none", Path(__file__).parent):
        assert not detect.is_dicom(other)
    (study / "series.nii.gz").write_bytes(b"")
    assert not detect.is_dicom(study)


def test_one_bad_study_does_not_stop_the_others(study: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for file in sorted(study.iterdir())[:3]:
        (bad / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CaseError, match="a CT perfusion, 12 or more images of each slice"):
        inference_cases(bad, "none", "testing", ".", output_dir=tmp_path / "out")
    cases = inference_cases([bad, study], "none", "testing", ".", output_dir=tmp_path / "out")
    assert [case["case"][:4] for case in cases] == ["stud", "ctp-"]
    items = CaseDataset(cases, lambda case: case, keep_going=True)
    assert "12 or more images of each slice" in items[0][FAILURE]
    assert items[1]["image"] == cases[1]["image"]


@pytest.mark.parametrize("version", ["", "2.4.4"])
def test_without_the_extra_one_line_says_what_to_install(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    def installed(name: str) -> str:
        if not version:
            raise detect.importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(detect.importlib.metadata, "version", installed)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "ctp-stroke-lesion-segmentation\[dicom\]"'):
        inference_cases(study, "none", "testing", ".", output_dir=tmp_path / "out")
