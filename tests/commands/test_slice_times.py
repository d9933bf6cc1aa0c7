"""`ctp-stroke maps` estimates each slice at the times of its sidecar, in whatever order the file stores them."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts import cli
from tests.perfusion.slices import LATE, LATE_S, NORMAL, NORMAL_S, SPACING_MM, jog, sampled_head

INTERVAL_S = 3.0


def test_maps_by_the_sidecar_of_a_jog_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    series = sampled_head(jog(INTERVAL_S)).permute(1, 2, 3, 0).numpy()
    maps = {}
    for name, axes in (("ras", ()), ("lai", (0, 2))):
        affine = np.diag([*SPACING_MM, 1.0])
        affine[axes, axes] *= -1
        image = nib.Nifti1Image(np.flip(series, axes), affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = INTERVAL_S
        nib.save(image, tmp_path / f"{name}.nii")
        stored_s = jog(INTERVAL_S)[::-1] if 2 in axes else jog(INTERVAL_S)
        (tmp_path / f"{name}.json").write_text(json.dumps({"SliceTimesStart": stored_s.tolist()}))
        out = tmp_path / name
        assert cli.main(["maps", str(tmp_path / f"{name}.nii"), "--out", str(out), "--no-motion-correction"]) == 0
        summary = json.loads((out / "summary.json").read_text())
        offsets_s = [-0.75, -0.75, 0.75, 0.75]
        assert summary["frame_times"]["slice_offsets_s"] == (offsets_s[::-1] if 2 in axes else offsets_s)
        maps[name] = np.flip(nib.nifti1.load(out / f"{name}_tmax.nii.gz").get_fdata(), axes)
    for region, delay_s in ((NORMAL, NORMAL_S), (LATE, LATE_S)):
        assert np.median(maps["ras"][region], axis=(0, 1)) == pytest.approx([delay_s] * 4, abs=0.3)
    assert np.abs(maps["lai"] - maps["ras"]).max() < 0.1
