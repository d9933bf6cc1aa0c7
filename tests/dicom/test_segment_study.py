"""The command on a study against the command on the same series as NIfTI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.cli import main
from scripts.io.nifti import write_nifti
from scripts.phantom import ensure_cohort
from tests.dicom import vendors


@pytest.mark.slow
def test_a_study_gives_the_mask_of_its_nifti(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    ensure_cohort(tmp_path / "data", (0, 0, 1), 11, workers=1, matrix=64)
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
    study = vendors.write(tmp_path / "study", vendors.datasets(scan, vendors.siemens(scan)))
    write_nifti(tmp_path / "series.nii", hu, scan.affine, dt_s=dt_s)
    out = tmp_path / "out"
    assert main(["segment", str(study), str(tmp_path / "series.nii"), "--out", str(out), "--min-lesion-ml", "0"]) == 0
    text = capfd.readouterr()
    assert "the only one with many images of each slice" in text.err
    assert not any(value in text.out + text.err for value in vendors.PATIENT.values() if len(value) > 1)
    masks = {path.name[:3]: nib.load(path) for path in out.glob("*/*_lesion.nii.gz")}
    mine, expected = (np.asarray(masks[name].dataobj) for name in ("ctp", "ser"))
    np.testing.assert_array_equal(mine, expected)  # Dice 1.0
    probability = {path.name[:3]: nib.load(path) for path in out.glob("*/*_probability.nii.gz")}
    np.testing.assert_array_equal(*(np.asarray(volume.dataobj) for volume in probability.values()))
    assert np.asarray(probability["ctp"].dataobj).max() > 0.01
    np.testing.assert_allclose(masks["ctp"].affine, scan.affine, atol=1e-4)
