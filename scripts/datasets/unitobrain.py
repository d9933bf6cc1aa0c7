"""UniToBrain (Gava et al. 2023): DICOM folders, a patient each.

The layout::

    MOL-001/…dcm                                                    the series as acquired
    MOL-001_Registered_Filtered_3mm_20HU/…dcm                       the series registered and filtered
    MOL-001_Registered_Filtered_3mm_20HU_Maps/NLR_CBF/…dcm          maps, also CBV, MTT, TTP

A map is a folder whose name ends in `CBF`, `CBV`, `MTT` or `Tmax`, or a NIfTI file of such a name, wherever it lies in
the patient's folders. TTP is no map that the bundle takes. There is neither DWI nor label.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..dicom.detect import files_below
from ..io.case import MAP_KEYS, SERIES_KEY
from ..io.errors import CaseError, DatasetError
from .found import Found, check, only_file

NAME = "unitobrain"
SIGN = "MOL-001, MOL-002, …"
_PATIENT = re.compile(r"MOL-(\d+)(.*)", re.IGNORECASE)


def matches(root: Path) -> bool:
    """Whether a folder holds folders `MOL-NNN`."""
    return any(_PATIENT.fullmatch(folder.name) for folder in root.iterdir() if folder.is_dir())


def find(root: Path) -> Found:
    """Find the patients, ordered by number; the files are not read.

    Raises:
        DatasetError: there is none.
    """
    patients: dict[int, list[Path]] = {}
    for folder in sorted(root.iterdir()):
        match = _PATIENT.fullmatch(folder.name)
        if match and folder.is_dir():
            patients.setdefault(int(match[1]), []).append(folder)
    if not patients:
        raise DatasetError(f"root '{root}': expected folders {SIGN}, got none")
    found = Found([])
    for number, folders in sorted(patients.items()):
        found.cases.append(_case(found, f"MOL-{number:03d}", folders))
    return check(found, one_grid=False)


def _case(found: Found, name: str, folders: list[Path]) -> dict[str, Any]:
    case: dict[str, Any] = {"case": name, "subject": name}
    series = [folder for folder in folders if not folder.name.lower().endswith("_maps")]
    series.sort(key=lambda folder: len(folder.name))  # the series as acquired has the shortest name
    with_files = [folder for folder in series if next(files_below(folder), None)]
    if with_files:
        case[SERIES_KEY] = str(with_files[0])
    else:
        found.add(name, CaseError.of(name, SERIES_KEY, None, "a folder with DICOM files", "none"))
    for key in MAP_KEYS:
        paths = [path for folder in folders for path in sorted(folder.rglob("*")) if _is_map(path, key)]
        path = only_file(found, name, key, key.upper(), paths, needed=False)
        if path is not None:
            case[key] = str(path)
    return case


def _is_map(path: Path, key: str) -> bool:
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    if path.name.startswith(".") or re.split(r"[ _.-]", stem.lower())[-1] != key:
        return False
    return path.is_dir() or stem != path.name
