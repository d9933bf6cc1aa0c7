"""Training, evaluation and inference on ISLES'24 folders: the steps that a user runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from scripts import cli
from scripts.datasets.resample import onto_grid, to_reference_grid

from . import trees


@pytest.fixture
def isles2024(tmp_path: Path, write_case: Callable[..., dict[str, str]]) -> Path:
    """Five cases with a bolus, of which one has no maps and one no DWI, prepared from the NCCT's grid."""
    root = tmp_path / "train"
    grid = trees.ncct_affine() @ np.diag([1.5, 1.5, 1.2, 1.0])
    grid[:3, 3] = np.array([-44, -34, 28]) - grid[:3, :3] @ (np.array(trees.NCCT_SHAPE) / 2)  # around the series
    for number in range(1, 6):
        case = write_case(f"made_{number}", shape=(32, 32, 3), seed=number, maps=number != 2, dwi=number != 3)
        name = f"sub-stroke{number:04d}"
        series = nib.load(case["image"])
        folder, derived = root / "raw_data" / name / "ses-01", root / "derivatives" / name
        trees.save(folder / f"{name}_ses-01_ctp.nii.gz", series.get_fdata(dtype=np.float32), series.affine, dt_s=1.5)
        for key in {*trees.MAPS, "dwi", "label"} & set(case):
            values = nib.load(case[key]).get_fdata(dtype=np.float32)
            session = "ses-01" if key in trees.MAPS else "ses-02"
            suffix = "lesion-msk" if key == "label" else key
            if key == "label":
                values = to_reference_grid(values, series.affine, (trees.NCCT_SHAPE, grid))
            else:
                values = onto_grid(values, series.affine, trees.NCCT_SHAPE, grid)
            trees.save(derived / session / f"{name}_{session}_space-ncct_{suffix}.nii.gz", values, grid)
    assert cli.main(["datalist", str(root), "--prepared", str(tmp_path / "prepared"), "--split", "3/1/1"]) == 0
    return tmp_path / "prepared"


def test_train_evaluate_and_segment(isles2024: Path, workflow: Callable[..., Any], tmp_path: Path) -> None:
    places = {"dataset_dir": str(isles2024)}
    workflow("train", **places).run()
    workflow("evaluate", **places).run()
    inference = workflow("inference", workflow_type="infer", **places)
    inference.run()
    (tested,) = json.loads((isles2024 / "datalist.json").read_text())["testing"]
    name = tested["case"]
    assert [row.split(",")[0] for row in (tmp_path / "eval" / "metrics.csv").read_text().splitlines()][1] == name
    lesion = nib.load(tmp_path / "eval" / name / f"{name}_lesion.nii.gz")
    series = nib.load(isles2024 / tested["image"])
    assert lesion.shape == series.shape[:3]
    np.testing.assert_allclose(lesion.affine, series.affine, atol=1e-4)
