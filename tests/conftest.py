"""Small synthetic cases, written with nibabel alone, and a way to run the configs on them at small widths."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).resolve().parents[1]

SMALL: dict[str, Any] = {
    "features": [2, 2, 4, 4, 4],
    "image_size": 32,
    "device": "cpu",
    "epochs": 1,
    "batch_size": 4,
    "num_workers": 0,
}

settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("project")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def config_files(*names: str) -> list[str]:
    """The files of configs, each after its base: ``train`` for ``evaluate``, and for a row the base of its table."""
    files = [ROOT / "configs" / "train.json"] if names[0] == "evaluate" else []
    for path in (ROOT / "configs" / f"{name}.json" for name in names):
        base = path.with_stem(path.stem.split("_")[0])
        files += [base] if path.parent.name == "experiments" and base.is_file() and base != path else []
        files.append(path)
    return [str(path) for path in files]


def axial_affine(spacing_mm: tuple[float, float, float] = (3.6, 3.6, 8.0), codes: str = "RAS") -> np.ndarray:
    """An affine whose voxel axes point along ``codes``, such as LPS; the slices stay the third axis."""
    signs = [1.0 if code in "RAS" else -1.0 for code in codes]
    affine = np.diag([sign * size for sign, size in zip(signs, spacing_mm, strict=True)] + [1.0])
    affine[:3, 3] = (-100.0, -90.0, 20.0)
    return affine


def bolus(frames: int = 20) -> np.ndarray:
    """A curve that rises over frames 3 to 9 and falls over 9 to 17, with its peak 1."""
    return np.interp(np.arange(frames), [3, 9, 17], [0, 1, 0])


@pytest.fixture
def write_case(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """A function that writes a case of a disc-shaped brain with a bolus and a square lesion; returns its dict."""

    def write(
        name: str = "case_1",
        shape: tuple[int, int, int] = (64, 64, 3),
        frames: int = 20,
        affine: np.ndarray | None = None,
        lesion: np.ndarray | None = None,
        maps: bool = True,
        dwi: bool = True,
        label: bool = True,
        seed: int = 0,
    ) -> dict[str, str]:
        generator = np.random.default_rng(seed)
        affine = axial_affine() if affine is None else affine
        x, y = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape[:2]), indexing="ij")
        brain = ((x**2 + y**2) < 0.64)[..., None] & np.ones(shape, dtype=bool)
        if lesion is None:
            lesion = np.zeros(shape, dtype=bool)
            lesion[shape[0] // 4 : shape[0] // 2, shape[1] // 2 : shape[1] * 5 // 8, 1:] = True
        uptake = np.where(brain, np.where(lesion, 4.0, 15.0), 0.0)
        series = np.where(brain, 35.0, -1000.0)[..., None] + uptake[..., None] * bolus(frames)
        series += generator.normal(0, 1, series.shape) * brain[..., None]
        center = tuple(size // 2 for size in shape)
        series[center[0] - 1 : center[0] + 1, center[1] // 2, :] += 150 * bolus(frames)
        volumes = {"image": series}
        if maps:
            volumes |= {
                "cbf": np.where(brain, np.where(lesion, 8.0, 50.0), 0.0),
                "cbv": np.where(brain, np.where(lesion, 1.0, 3.5), 0.0),
                "mtt": np.where(brain, np.where(lesion, 10.0, 4.0), 0.0),
                "tmax": np.where(brain, np.where(lesion, 9.0, 1.0), 0.0),
            }
        if dwi:
            volumes["dwi"] = np.where(brain, np.where(lesion, 900.0, 300.0), 0.0) + generator.normal(0, 5, shape)
        if label:
            volumes["label"] = lesion.astype(np.uint8)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        case = {"case": name}
        for key, volume in volumes.items():
            image = nib.Nifti1Image(volume.astype(np.uint8 if key == "label" else np.float32), affine)
            image.header.set_xyzt_units("mm", "sec")
            if key == "image":
                image.header["pixdim"][4] = 1.5
            case[key] = str(folder / f"{key}.nii")
            nib.save(image, case[key])
        return case

    return write


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
    """A function that gives an initialized workflow of ``configs/<name>.json`` on the small data set."""

    def make(*names: str, workflow_type: str = "train", **overrides: Any) -> ConfigWorkflow:
        paths = {
            "dataset_dir": str(dataset_dir),
            "output_dir": str(dataset_dir / "eval"),
            "ckpt_dir": str(dataset_dir / "models"),
        }
        result = ConfigWorkflow(
            config_file=config_files(*names),
            logging_file=False,
            workflow_type=workflow_type,
            **{**SMALL, **paths, **overrides},
        )
        result.initialize()
        return result

    return make
