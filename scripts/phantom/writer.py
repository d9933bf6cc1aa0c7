"""Write a case as an ISLES 2018 folder, with its truth in another folder; folders are complete or absent."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..datasets.isles2018 import MODALITIES
from ..io.atomic import write_json
from ..io.nifti import write_nifti
from .case import PhantomCase

TRUTH_FOLDER = "truth"
_FIRST_FILE_ID = 300000
_DESCRIPTION = "synthetic CT perfusion phantom, not a patient"


def write_case(case: PhantomCase, root: Path, name: str, number: int, *, with_dwi: bool = True) -> None:
    """Write ``root/name`` and ``root/truth/name``.

    The series is int16 HU, uncompressed, with the frame interval in ``pixdim[4]``; maps and DWI are float32, the label
    uint8. The truth is written first, so no case folder lacks it.

    Args:
        case: what to write.
        root: the data set.
        name: folder name, ``case_<number>``.
        number: for the file ids, which are unique in a data set, as those of the challenge.
        with_dwi: whether to write MR_DWI.
    """
    with _appearing_folder(root / TRUTH_FOLDER / name) as folder:
        for key, volume in case.truth.items():
            write_nifti(folder / f"{key}.nii", volume, case.grid.affine, description=_DESCRIPTION)
        write_json(folder / "parameters.json", {"case": name, **case.description})
    frame_interval_s = float(case.series.frame_times_s[1] - case.series.frame_times_s[0])
    volumes: dict[str, NDArray] = {
        "image": case.series.hu.transpose(1, 2, 3, 0),
        "cbf": case.maps.cbf,
        "cbv": case.maps.cbv,
        "mtt": case.maps.mtt,
        "tmax": case.maps.tmax,
        "dwi": case.dwi,
        "label": case.label.astype(np.uint8),
    }
    with _appearing_folder(root / name) as folder:
        for offset, (key, modality) in enumerate(MODALITIES.items()):
            if key == "dwi" and not with_dwi:
                continue
            stem = f"SMIR.Brain.XX.O.{modality}.{_FIRST_FILE_ID + 10 * number + offset}"
            write_nifti(
                folder / stem / f"{stem}.nii",
                volumes[key],
                case.grid.affine,
                description=_DESCRIPTION,
                dt_s=frame_interval_s,
            )


@contextmanager
def _appearing_folder(target: Path) -> Iterator[Path]:
    """A temporary folder next to ``target``, renamed to it if the block succeeds, otherwise removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
