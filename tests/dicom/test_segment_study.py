"""The command on studies against the command on the same series as NIfTI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from scipy import ndimage

from scripts.cli import main
from scripts.io.nifti import write_nifti
from tests.dicom import vendors
from tests.dicom.phantom_study import phantom_scan
from tests.dicom.vendors import Scan

TILT_DEG = 15.0
TILTED = "1.2.3.4"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def tilted(scan: Scan) -> Scan:
    """The scan by a tilted gantry: the head lies tilted as well, and the table moves along z."""
    angle = np.deg2rad(TILT_DEG)
    gap_mm = scan.step_mm[2]
    hu = scan.hu.copy()
    middle = (hu.shape[2] - 1) // 2
    for index in range(hu.shape[2]):
        pixels = (index - middle) * gap_mm * np.tan(angle) / scan.spacing_mm[0]
        for frame in range(hu.shape[3]):
            hu[:, :, index, frame] = np.rint(
                ndimage.shift(scan.hu[:, :, index, frame].astype(float), (0, pixels), cval=-1024)
            ).clip(-1024, 3071)
    turned = vendors.tilted(scan, TILT_DEG)
    return replace(turned, hu=hu, step_mm=(0.0, 0.0, gap_mm / float(np.cos(angle))))


def of_another_series(data: Dataset, index: int, frame: int) -> None:
    data.SeriesInstanceUID = TILTED


def check_objects(folder: Path, lesion: np.ndarray, affine: np.ndarray) -> None:
    """The lesion of the Segmentation, the report in the PDF object, and no patient in the names of files."""
    written = {path.stem: dcmread(path) for path in (folder / "dicom").glob("*.dcm")}
    assert {"seg", "sr", "cbf", "tmax", "panel", "overlay_001", "report"} <= set(written)
    volume = highdicom.seg.Segmentation.from_dataset(written["seg"]).get_volume(
        segment_numbers=[1], combine_segments=True
    )
    points = [
        nib.affines.apply_affine(transform, np.argwhere(mask))
        for transform, mask in ((LPS_TO_RAS @ volume.affine, volume.array), (affine, lesion))
    ]
    np.testing.assert_allclose(*(sorted(map(tuple, np.round(place, 2))) for place in points), atol=0.02)
    pdf = (folder / f"{folder.name}_report.pdf").read_bytes()
    assert written["report"].EncapsulatedDocument[: len(pdf)] == pdf


def test_results_join_studies_alone(write_case, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    image = write_case()["image"]
    assert main(["segment", image, "--out", str(tmp_path / "out"), "--dicom"]) == 2
    assert f"--dicom: expected DICOM studies, which the results are to join, got '{image}'" in capsys.readouterr().err


@pytest.mark.slow
def test_studies_give_the_masks_of_their_nifti(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    scan = phantom_scan(tmp_path / "data")
    write_nifti(tmp_path / "series.nii", scan.hu, scan.affine, dt_s=float(scan.times_s[0, 1]))
    inputs = [str(tmp_path / "series.nii")]
    for name, own, changes in (("study", scan, ()), ("tilted", tilted(scan), (of_another_series,))):
        inputs.append(str(vendors.write(tmp_path / name, vendors.datasets(own, vendors.siemens(own), *changes))))
    out = tmp_path / "out"
    words = ["--out", str(out), "--min-lesion-ml", "0"]
    assert main(["segment", inputs[0], *words]) == 0
    assert main(["segment", *inputs[1:], *words, "--dicom", "--report"]) == 0
    text = capfd.readouterr()
    assert text.err.count("the only one with many images of each slice") == 2
    assert not any(value in text.out + text.err for value in vendors.PATIENT.values() if len(value) > 1)

    cases = {"series": "series"}
    for sidecar in out.glob("*/*_ctp.json"):
        uid = json.loads(sidecar.read_text())["SeriesInstanceUID"]
        cases["tilted" if uid == TILTED else "study"] = sidecar.parent.name
    masks = {name: nib.load(out / case / f"{case}_lesion.nii.gz") for name, case in cases.items()}
    lesions = {name: np.asarray(mask.dataobj) > 0 for name, mask in masks.items()}
    assert lesions["series"].sum() > 20
    np.testing.assert_array_equal(lesions["study"], lesions["series"])  # Dice 1.0
    np.testing.assert_allclose(masks["study"].affine, scan.affine, atol=1e-4)
    for name in ("study", "tilted"):
        check_objects(out / cases[name], lesions[name], masks[name].affine)
    assert main(["segment", inputs[1], *words, "--overwrite"]) == 0  # a report of other results does not stay
    folder = out / cases["study"]
    assert not [*folder.glob("*_report.*"), *folder.glob("dicom/*")]

    both = (lesions["tilted"] & lesions["series"]).sum()
    assert 2 * both / (lesions["tilted"].sum() + lesions["series"].sum()) >= 0.98
