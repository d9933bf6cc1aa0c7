from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

SHAPE = (6, 5, 2)
FRAMES = 12
AFFINE = np.array([[-0.9, 0, 0, 110], [0, -0.9, 0, 120], [0, 0, 8, -20], [0, 0, 0, 1.0]])
TOKENS = {
    "image": "CT_4DPWI",
    "cbf": "CT_CBF",
    "cbv": "CT_CBV",
    "mtt": "CT_MTT",
    "tmax": "CT_Tmax",
    "dwi": "MR_DWI",
    "label": "OT",
}


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


@pytest.fixture
def isles(tmp_path: Path) -> Callable[..., Path]:
    """A maker of ISLES 2018 folders: one array of slice positions (or their number) gives the cases."""

    def make(n: int, *, leave_out: tuple[str, ...] = ("dwi",), suffix: str = ".nii", slabs: bool = False) -> Path:
        rng = np.random.default_rng(1)
        root = tmp_path / "isles"
        for number in range(1, n + 1):
            affine = AFFINE.copy()
            # Slabs: cases 2k-1 and 2k share the plane and differ along the slice axis.
            affine[0, 3] += (number + 1) // 2 if slabs else number
            affine[2, 3] += 30 * (number % 2) if slabs else 0
            for index, (key, array) in enumerate(case_arrays(rng).items()):
                if key not in leave_out:
                    name = f"SMIR.Brain.XX.O.{TOKENS[key]}.{345000 + 10 * number + index}"
                    save(root / "TRAINING" / f"case_{number}" / name / f"{name}{suffix}", array, affine)
            plain = f"SMIR.Brain.XX.O.CT.{345009 + 10 * number}"
            save(root / "TRAINING" / f"case_{number}" / plain / f"{plain}{suffix}", rng.random(SHAPE, np.float32))
        return root

    return make
