"""The files that a challenge's organizers ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..io.errors import CaseError, DatasetError
from .isles2018 import MODALITIES

_MAP = "mtt"
_FILE = re.compile(rf"SMIR\..*\.{MODALITIES[_MAP]}\.(\d+)\.nii(\.gz)?")


def isles2018_files(cases: Iterable[Mapping[str, Any]], folder: Path) -> dict[str, Path]:
    """The file of each case's mask, `SMIR.my_result.<ID>.nii` with the ID of the case's CT_MTT map.

    Args:
        cases: each with `case` and `mtt`, a file with the name of ISLES 2018.
        folder: where the files are to lie.

    Raises:
        DatasetError: a case has no such map, or two have the same ID; all problems are listed.
    """
    problems: list[str] = []
    owners: dict[str, str] = {}
    files: dict[str, Path] = {}
    for case in cases:
        name, given = str(case["case"]), case.get(_MAP)
        match = None if given is None else _FILE.fullmatch(Path(given).name)
        if match is None:
            expected = f"a file SMIR.….{MODALITIES[_MAP]}.<ID>.nii, whose ID names the result"
            problems.append(str(CaseError.of(name, _MAP, given, expected, "another name" if given else "none")))
            continue
        if match[1] in owners:
            problems.append(str(CaseError.of(name, _MAP, given, "an ID of its own", f"that of '{owners[match[1]]}'")))
        owners[match[1]] = name
        files[name] = folder / f"SMIR.my_result.{match[1]}.nii"
    if problems:
        raise DatasetError(problems)
    return files
