from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.io.conftest import AFFINE, SHAPE, case_arrays, save

TOKENS = {
    "image": "CT_4DPWI",
    "cbf": "CT_CBF",
    "cbv": "CT_CBV",
    "mtt": "CT_MTT",
    "tmax": "CT_Tmax",
    "dwi": "MR_DWI",
    "label": "OT",
}


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
