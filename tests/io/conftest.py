from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

SHAPE = (6, 5, 2)
FRAMES = 12
AFFINE = np.array([[-0.9, 0, 0, 110], [0, -0.9, 0, 120], [0, 0, 8, -20], [0, 0, 0, 1.0]])


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write with nibabel alone, so that the readers are tested against another writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def case_arrays(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> dict[str, np.ndarray]:
    arrays = {key: rng.random(shape, np.float32) for key in ("cbf", "cbv", "mtt", "tmax", "dwi")}
    arrays["image"] = rng.integers(0, 300, (*shape, FRAMES)).astype(np.int16)
    arrays["label"] = (rng.random(shape) > 0.8).astype(np.uint8)
    return arrays


@pytest.fixture
def case(tmp_path: Path) -> dict[str, Any]:
    """A whole case on disk."""
    arrays = case_arrays(np.random.default_rng(0))
    return {"case": "case_7"} | {key: str(save(tmp_path / f"{key}.nii.gz", a)) for key, a in arrays.items()}
