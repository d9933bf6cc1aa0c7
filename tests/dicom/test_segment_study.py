"""The command on studies against the command on the same series as NIfTI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset
from scipy import ndimage

from scripts.cli import main
from scripts.io.nifti import write_nifti
from scripts.phantom import ensure_cohort
from tests.dicom import vendors
from tests.dicom.vendors import Scan

TILT_DEG = 15.0
TILTED = "1.2.3.4"


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


@pytest.mark.slow
def test_studies_give_the_masks_of_their_nifti(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    ensure_cohort(tmp_path / "data", (0, 0, 1), 11, workers=1, matrix=256)
    (found,) = json.loads((tmp_path / "data" / "datalist.json").read_text())["testing"]
    image = nib.load(tmp_path / "data" / found["image"])
    hu = np.rint(np.asarray(image.dataobj)).clip(-1024, 3071).astype(np.int16)
    dt_s = float(image.header["pixdim"][4])
    size = np.abs(np.diag(image.affine)[:3]).tolist()
    scan = replace(
        vendors.scan(),
        hu=hu,
        times_s=np.tile(np.arange(hu.shape[3]) * dt_s, (hu.shape[2], 1)),
        spacing_mm=(size[1], size[0]),
        step_mm=(0.0, 0.0, size[2]),
    )
    write_nifti(tmp_path / "series.nii", hu, scan.affine, dt_s=dt_s)
    inputs = [str(tmp_path / "series.nii")]
    for name, own, changes in (("study", scan, ()), ("tilted", tilted(scan), (of_another_series,))):
        inputs.append(str(vendors.write(tmp_path / name, vendors.datasets(own, vendors.siemens(own), *changes))))
    out = tmp_path / "out"
    assert main(["segment", *inputs, "--out", str(out), "--min-lesion-ml", "0"]) == 0
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
    both = (lesions["tilted"] & lesions["series"]).sum()
    assert 2 * both / (lesions["tilted"].sum() + lesions["series"].sum()) >= 0.98
