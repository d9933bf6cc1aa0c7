"""A small data set and a way to run the bundle's configs on it, at small widths."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from tests.conftest import ROOT

SMALL: dict[str, Any] = {
    "features": [2, 2, 4, 4, 4],
    "image_size": 32,
    "device": "cpu",
    "epochs": 1,
    "batch_size": 4,
    "num_workers": 0,
}


@pytest.fixture
def dataset_dir(tmp_path: Path, write_case: Callable[..., dict[str, str]]) -> Path:
    """A folder with a datalist: three training cases, one of them without DWI, one to validate and two to test."""
    cases = [write_case(f"case_{i}", shape=(32, 32, 3), seed=i, dwi=i != 1, maps=i != 2) for i in range(6)]
    relative = [
        {key: value if key == "case" else str(Path(value).relative_to(tmp_path)) for key, value in case.items()}
        for case in cases
    ]
    sections = {"training": relative[:3], "validation": relative[3:4], "testing": relative[4:]}
    (tmp_path / "datalist.json").write_text(json.dumps(sections))
    return tmp_path


@pytest.fixture
def workflow(dataset_dir: Path) -> Callable[..., ConfigWorkflow]:
    """A function that gives an initialised workflow of ``configs/<name>.json`` on the small data set."""

    def make(*names: str, workflow_type: str = "train", **overrides: Any) -> ConfigWorkflow:
        paths = {
            "dataset_dir": str(dataset_dir),
            "output_dir": str(dataset_dir / "eval"),
            "ckpt_dir": str(dataset_dir / "models"),
        }
        result = ConfigWorkflow(
            config_file=[str(ROOT / "configs" / f"{name}.json") for name in names],
            logging_file=False,
            workflow_type=workflow_type,
            **{**SMALL, **paths, **overrides},
        )
        result.initialize()
        return result

    return make
