"""The cases of paths that a user gives: series, folders of series, datalists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from .case import SERIES_KEY
from .datalist import SECTIONS, load_datalist, name_cases
from .errors import CaseError, DatasetError
from .nifti import open_nifti

_ENDINGS = (".nii", ".nii.gz")


def given_cases(paths: Iterable[str | PathLike[str]], section: str = SECTIONS[-1]) -> list[dict[str, Any]]:
    """Return the cases of paths, each case with a name that no other has.

    Args:
        paths: each a 4D series, a datalist (`.json`, with paths relative to its folder), or a folder: that of a
            `datalist.json`, else every 4D NIfTI file in it and in its subfolders.
        section: the section of the datalists.

    Returns:
        Case dictionaries with `image` and `case`. Headers are checked only as far as folders need it.

    Raises:
        FileNotFoundError: a datalist is not there.
        DatasetError: a folder has no series; a datalist is not what it should be; two cases have one name.
    """
    cases = [case for path in map(Path, paths) for case in _cases_of(path, section)]
    # Series of one name get that of their folder in front; those of datalists keep theirs.
    problems = name_cases(cases, Path(os.path.commonpath([Path(case[SERIES_KEY]).absolute().parent for case in cases])))
    if problems:
        raise DatasetError(problems)
    return cases


def _cases_of(path: Path, section: str) -> list[dict[str, Any]]:
    listed = path / "datalist.json" if path.is_dir() else path
    if listed.suffix.lower() == ".json" and (listed.is_file() or not path.is_dir()):
        return load_datalist(listed, section, listed.parent, check=False)
    if not path.is_dir():
        return [{SERIES_KEY: os.fspath(path)}]
    series = [{SERIES_KEY: os.fspath(file)} for file in _series_in(path)]
    if not series:
        raise DatasetError(f"folder '{path}': expected datalist.json or 4D NIfTI files, got neither")
    return series


def _series_in(folder: Path) -> Iterator[Path]:
    """The 4D NIfTI files below a folder, in order; also files that cannot be read, so that they are reported."""
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if hidden or not file.name.lower().endswith(_ENDINGS) or not file.is_file():
            continue
        try:
            four = len(open_nifti(file, case=file.name, key=SERIES_KEY).shape) > 3
        except (CaseError, OSError):  # loading the case says what is wrong
            four = True
        if four:
            yield file
