"""ISLES'24 (Riedel et al. 2024, doi:10.48550/arXiv.2408.11142), of which `ROOT` is `train` or the folder above it.

The layout, in either spelling, `sub-stroke0001/ses-01` or `sub-strokecase0001/ses-0001`::

    raw_data/sub-stroke0001/ses-01/…_ctp.nii.gz, …_ncct.nii.gz                      perhaps perfusion-maps/…_tmax.nii.gz
    derivatives/sub-stroke0001/ses-01/perfusion-maps/…_space-ncct_tmax.nii.gz       and cbf, cbv, mtt
    derivatives/sub-stroke0001/ses-02/…_space-ncct_lesion-msk.nii.gz                and dwi, adc, there or in raw_data
    phenotype/…                                                                      tables, not read

The series is on its own grid, one frame per second; maps, DWI and mask are on that of the non-contrast CT. Maps in
`raw_data` are taken where they lie on the grid of the series, else those in `derivatives`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..io.case import GRID_TOLERANCE_MM, LABEL_KEY, MAP_KEYS, SERIES_KEY, grid_shift_mm
from ..io.errors import CaseError, DatasetError
from ..io.nifti import frame_interval_s, open_nifti
from .bids import BidsFile, bids_files, has_folders
from .found import Found, check, only_file, sidecar

NAME = "isles2024"
SIGN = "sub-stroke0001 or sub-strokecase0001, …"
FRAME_INTERVAL_S = 1.0
"""Of the released series, which were resampled in time; used where neither the header nor a sidecar states one."""

REFERENCE_KEY = "reference"
"""Key of the non-contrast CT in the cases that :func:`find` returns."""

_SUBJECT = re.compile(r"stroke(?:case)?(\d+)", re.IGNORECASE)
_FILES = {
    SERIES_KEY: ("ctp", 1),
    **{key: (key, 1) for key in MAP_KEYS},
    "dwi": ("dwi", 2),
    LABEL_KEY: ("lesion-msk", 2),
    REFERENCE_KEY: ("ncct", 1),
    "adc": ("adc", 2),
}
"""Suffix and session of each file."""


def matches(root: Path) -> bool:
    """Whether there are folders `sub-stroke0001` or `sub-strokecase0001`, a few levels down at most."""
    return has_folders(root, re.compile(r"sub-stroke(case)?\d+", re.IGNORECASE))


def find(root: Path) -> Found:
    """Find and check the cases, ordered by subject.

    Raises:
        DatasetError: there is no such case.
    """
    subjects: dict[int, dict[str, list[BidsFile]]] = {}
    for file in bids_files(root):
        match = _SUBJECT.fullmatch(file.subject)
        key = next((key for key, place in _FILES.items() if place == (file.suffix, _number(file.session))), None)
        if match and key:
            subjects.setdefault(int(match[1]), {k: [] for k in _FILES})[key].append(file)
    if not subjects:
        raise DatasetError(f"root '{root}': expected files such as sub-stroke0001_ses-01_ctp.nii.gz, got none")
    found = Found([])
    for number, files in sorted(subjects.items()):
        found.cases.append(_case(found, f"sub-stroke{number:04d}", files))
    for key in (REFERENCE_KEY, "adc"):
        if count := sum(bool(files[key]) for files in subjects.values()):
            found.others[_FILES[key][0]] = count
    return check(found, one_grid=False)


def _case(found: Found, name: str, files: dict[str, list[BidsFile]]) -> dict[str, Any]:
    case: dict[str, Any] = {"case": name, "subject": name}
    for key, (suffix, _) in _FILES.items():
        if key == "adc":
            continue
        in_ncct = key not in (SERIES_KEY, REFERENCE_KEY)  # where there is a choice, the files in the NCCT's space
        chosen = [file.path for file in files[key] if ("space" in file.entities) == in_ncct]
        others = [file.path for file in files[key] if file.path not in chosen]
        if key in MAP_KEYS and SERIES_KEY in case and (native := _on_grid(others, case[SERIES_KEY])):
            chosen = native
        path = only_file(found, name, key, f"_{suffix}", chosen or others, needed=key == SERIES_KEY)
        if path is not None:
            case[key] = str(path)
    with contextlib.suppress(CaseError, OSError, KeyError):  # what is wrong with the series is found by the check
        header = open_nifti(case[SERIES_KEY], case=name, key=SERIES_KEY).header
        if frame_interval_s(header) is None and sidecar(Path(case[SERIES_KEY])) is None:
            case["dt_s"] = FRAME_INTERVAL_S
    return case


def _on_grid(paths: Sequence[Path], series: str) -> list[Path]:
    """Those of the files that lie on the grid of a series."""
    found = []
    for path in paths:
        with contextlib.suppress(CaseError, OSError):
            grid, own = (open_nifti(file, case="", key="") for file in (series, path))
            same = grid.shape[:3] == own.shape[:3]
            if same and grid_shift_mm(grid.affine, own.affine, own.shape) <= GRID_TOLERANCE_MM:
                found.append(path)
    return found


def _number(session: str) -> int:
    return int(session) if session.isdigit() else 0
