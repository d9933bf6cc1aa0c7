"""Which scans are of one patient, so that a split never parts them.

In ISLES 2018 some patients were scanned in two slabs, which overlap in part or not at all and are two cases. Only the
challenge's table tells which; :func:`subjects_from_headers` is the rule for those who do not have it.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .case import SERIES_KEY
from .errors import DatasetError
from .nifti import frame_interval_s, open_nifti

MAX_TABLE_BYTES = 16 << 20
"""The largest table of patients that is read: a hundred thousand lines have 2 MB (a choice)."""

SAME_PLACE_MM = 0.01
"""Tolerance for calling two in-plane grids the same: a hundredth of a pixel, as two patients' fields of view differ."""


def case_number(name: str) -> int | None:
    """The number in an ISLES 2018 case name: 7 for `case_7`; None for another name."""
    match = re.fullmatch(r"case_(\d{1,18})", name, re.IGNORECASE)
    return int(match[1]) if match else None


def subjects_from_table(table: str | PathLike[str], names: Sequence[str]) -> list[str]:
    """The subject of each case from a CSV table.

    Args:
        table: a file with the columns `case` (`case_7` or `7`) and `subject`, among others if need be, separated by
            commas, semicolons or tabs. Cases that are not asked for may be in it.
        names: the cases.

    Raises:
        FileNotFoundError: the table is not there.
        DatasetError: a column or a case is missing, or a case has none or two subjects. All problems are listed.
    """
    path = Path(table)
    if not path.is_file():
        raise FileNotFoundError(f"patients '{path}': expected a CSV table, got nothing there")
    rows = _read_rows(path)
    if not {"case", "subject"} <= set(rows[0][1] if rows else []):
        got = list(rows[0][1])[:10] if rows else "no line"
        raise DatasetError(f"patients '{path}': expected the columns 'case' and 'subject', got {got}")
    subjects: dict[int | str, str] = {}
    problems = []
    for line, row in rows:
        case, subject = (row["case"] or "").strip(), (row["subject"] or "").strip()
        key = _key(case)
        if not case or not subject or subjects.setdefault(key, subject) != subject:
            got = "two" if case and subject else f"'{case}','{subject}'"
            problems.append(f"patients '{path}', line {line}: expected one subject for case '{case}', got {got}")
    problems += [f"patients '{path}': expected a line for '{n}', got none" for n in names if _key(n) not in subjects]
    if problems:
        raise DatasetError(problems)
    return [subjects[_key(name)] for name in names]


def _read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a CSV table, each with the number of its line, by the names of the columns in lower case."""
    size = path.stat().st_size
    if size > MAX_TABLE_BYTES:
        raise DatasetError(f"patients '{path}': expected a table of at most {MAX_TABLE_BYTES} bytes, got {size}")
    try:
        header, *rest = path.read_text(encoding="utf-8-sig").splitlines() or [""]
        delimiter = next((mark for mark in "\t;" if mark in header), ",")
        text = io.StringIO("\n".join([header.lower(), *rest]))
        rows = csv.DictReader(text, delimiter=delimiter, skipinitialspace=True)
        return [(rows.line_num, row) for row in rows]
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"patients '{path}': expected text in UTF-8, got byte {error.object[error.start]:#x} at {error.start}"
        ) from error
    except csv.Error as error:
        raise DatasetError(f"patients '{path}': expected a CSV table, got one that cannot be read ({error})") from error


def _key(case: str) -> int | str:
    """`case_7` and `7` are the same case."""
    number = case_number(case if case.lower().startswith("case_") else f"case_{case}")
    return case if number is None else number


def subjects_from_headers(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """The subject of each case where no table tells it; a subject has the name of its first case.

    The rule: consecutive case numbers are slabs of one patient where the series have the same in-plane grid (matrix,
    pixel size, orientation, in-plane position), the same number of frames and frame interval, and differ in their
    position along the slice axis: two slabs of one examination do, two patients hardly ever. Every other case is its
    own patient.

    Args:
        cases: case dictionaries with `case` and `image`, ordered by case number.
    """
    subjects: list[str] = []
    before: Mapping[str, Any] | None = None
    for case in cases:
        slab = before is not None and _consecutive(before["case"], case["case"]) and _are_slabs(before, case)
        subjects.append(subjects[-1] if slab else str(case["case"]))
        before = case
    return subjects


def _consecutive(first: str, second: str) -> bool:
    return (case_number(second) or 0) - (case_number(first) or 0) == 1


def _are_slabs(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two series have one in-plane grid and timing, and lie at different places along the slice axis."""
    a, b = (open_nifti(case[SERIES_KEY], case=case["case"], key=SERIES_KEY) for case in (first, second))
    if a.shape[:2] != b.shape[:2] or a.shape[-1] != b.shape[-1]:
        return False
    if frame_interval_s(a.header) != frame_interval_s(b.header):
        return False
    if np.abs(a.affine[:3, :2] - b.affine[:3, :2]).max() * max(a.shape[:2]) > SAME_PLACE_MM:
        return False
    normal = np.cross(a.affine[:3, 0], a.affine[:3, 1])
    normal /= np.linalg.norm(normal)
    shift = b.affine[:3, 3] - a.affine[:3, 3]
    along_mm = float(shift @ normal)
    across_mm = float(np.linalg.norm(shift - along_mm * normal))
    return across_mm <= SAME_PLACE_MM < abs(along_mm)
