import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scripts.io import load_case, load_datalist, write_nifti


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are complete here without it; what a crash leaves is tested in tests/io and tests/robustness."""
    monkeypatch.setattr("scripts.io.atomic._fsync", lambda *arguments: None)


@pytest.fixture
def dataset_dir(tmp_path: Path, write_case: Callable[..., dict[str, str]]) -> Path:
    """Two training cases and three to test, of which one has no lesion and one no DWI."""
    empty = np.zeros((64, 64, 3), bool)
    cases = [
        write_case(f"case_{i}", seed=i, dwi=i != 3, lesion=empty if i == 4 else None, label=True) for i in range(5)
    ]
    relative = [
        {key: value if key == "case" else str(Path(value).relative_to(tmp_path)) for key, value in case.items()}
        for case in cases
    ]
    (tmp_path / "datalist.json").write_text(json.dumps({"training": relative[:2], "testing": relative[2:]}))
    return tmp_path


@pytest.fixture
def results_dir(dataset_dir: Path) -> Path:
    """What inference would write for the test cases: the label one pixel off, and for one case a pseudo-DWI."""
    folder = dataset_dir / "eval"
    for case in load_datalist(dataset_dir / "datalist.json", "testing", dataset_dir):
        loaded = load_case(case)
        name = loaded["case"]
        write_nifti(folder / name / f"{name}_lesion.nii.gz", np.roll(loaded["label"], 1, axis=0), loaded["affine"])
        if name == "case_2":
            write_nifti(folder / name / f"{name}_pseudo_dwi.nii.gz", loaded["dwi"], loaded["affine"])
    return folder
