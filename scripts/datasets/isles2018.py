"""ISLES 2018 folders to datalists.

The layout is that of the challenge's archive, of which `ROOT` is the unpacked folder, its `TRAINING` folder, or any
folder that holds `case_N` folders::

    TRAINING/case_1/SMIR.Brain.XX.O.CT_4DPWI.345562/SMIR.Brain.XX.O.CT_4DPWI.345562.nii
    TRAINING/case_1/SMIR.Brain.XX.O.CT_CBF.345563/…         also CT_CBV, CT_MTT, CT_Tmax, OT, perhaps MR_DWI

Files are told apart by the modality token in their names; the plain `CT` is not used. `OT` (the lesion) may only be
missing from all cases, as in the testing set; `MR_DWI` and maps from any: what uses a case computes the maps it lacks.

The 94 training scans are of 63 patients; :mod:`scripts.io.subjects` says how scans of one patient are told.
"""

from os import PathLike
from pathlib import Path
from typing import Any

from ..io.case import FILE_KEYS, LABEL_KEY, SERIES_KEY
from ..io.errors import DatasetError
from ..io.subjects import case_number, subjects_from_headers, subjects_from_table
from .found import Found, check, nifti_files, only_file

NAME = "isles2018"
SIGN = "case_1, case_2, …"
MODALITIES = {
    SERIES_KEY: "CT_4DPWI",
    "cbf": "CT_CBF",
    "cbv": "CT_CBV",
    "mtt": "CT_MTT",
    "tmax": "CT_Tmax",
    "dwi": "MR_DWI",
    LABEL_KEY: "OT",
}
"""The token of each file of a case in the names of ISLES 2018."""


def matches(root: Path) -> bool:
    """Whether a folder holds `case_N` folders, or `TRAINING` with such."""
    return bool(_folders(root))


def find(root: Path, *, patients: str | PathLike[str] | None = None) -> Found:
    """Find and check the cases, ordered by case number.

    Args:
        root: the folder that holds `TRAINING`, or `case_N` folders.
        patients: the table of patients, if there is one: it then says which scans are of one patient.

    Raises:
        DatasetError: there is no case folder.
    """
    folders = _folders(root)
    if not folders:
        raise DatasetError(f"root '{root}': expected folders case_1, case_2, …, got none in '{_base(root)}'")
    files = {folder.name: _files_of(folder) for folder in folders}
    labeled = any(own[LABEL_KEY] for own in files.values())
    found = Found([])
    for name, own in files.items():
        case: dict[str, Any] = {"case": name}
        for key, modality in MODALITIES.items():
            needed = key == SERIES_KEY or (key == LABEL_KEY and labeled)
            path = only_file(found, name, key, modality, own[key], needed=needed)
            if path is not None:
                case[key] = str(path)
        found.cases.append(case)
    check(found, one_grid=True)
    if patients is None:
        usable = found.usable
        for case, subject in zip(usable, subjects_from_headers(usable), strict=True):
            case["subject"] = subject
    return found


def find_cases(
    root: str | PathLike[str], *, with_dwi: bool = True, patients: str | PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """Find the cases of a folder all of whose cases must be right.

    Args:
        root: the folder that holds `TRAINING`, or `case_N` folders.
        with_dwi: include the DWI of cases that have one.
        patients: CSV table with the columns `case` and `subject`, see :func:`scripts.io.subjects.subjects_from_table`;
            without it the rule of :func:`scripts.io.subjects.subjects_from_headers` holds.

    Returns:
        One dictionary for each case, ordered by case number, with `case`, `subject`, and the files that exist, as paths
        relative to `root`.

    Raises:
        FileNotFoundError: `root` or `patients` is not there.
        DatasetError: no case folder; or files are missing, double, unreadable, or disagree in shape or place; or a case
            is missing from the table. All problems are listed.
    """
    top = Path(root)
    if not top.is_dir():
        raise FileNotFoundError(f"root '{top}': expected an ISLES 2018 folder, got nothing there")
    found = find(top, patients=patients)
    if found.problems:
        raise DatasetError(found.all_problems)
    names = [case["case"] for case in found.cases]
    subjects = None if patients is None else subjects_from_table(patients, names)
    return [
        {"case": case["case"], "subject": case["subject"] if subjects is None else subjects[index]}
        | {k: Path(case[k]).relative_to(top).as_posix() for k in FILE_KEYS if k in case and (with_dwi or k != "dwi")}
        for index, case in enumerate(found.cases)
    ]


def _base(root: Path) -> Path:
    return root / "TRAINING" if (root / "TRAINING").is_dir() else root


def _folders(root: Path) -> list[Path]:
    numbers = {f: n for f in _base(root).iterdir() if f.is_dir() and (n := case_number(f.name)) is not None}
    return sorted(numbers, key=numbers.__getitem__)


def _files_of(folder: Path) -> dict[str, list[Path]]:
    """The NIfTI files of a case folder by key."""
    files: dict[str, list[Path]] = {key: [] for key in MODALITIES}
    for file in nifti_files(folder):
        parts = file.relative_to(folder).parts
        key = _key_of(file.name) or next((k for part in parts[:-1] if (k := _key_of(part))), None)
        if key is not None:
            files[key].append(file)
    return files


def _key_of(name: str) -> str | None:
    tokens = {token.lower() for token in name.split(".")}
    return next((key for key, modality in MODALITIES.items() if modality.lower() in tokens), None)
