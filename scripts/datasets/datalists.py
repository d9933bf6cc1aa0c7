"""From the folder of a data set to its datalist, split by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..io.case import FILE_KEYS, LABEL_KEY, SERIES_KEY, VOLUME_KEYS, check_headers
from ..io.datalist import SECTIONS, write_datalist
from ..io.errors import DatasetError, OptionError
from ..io.splits import PAPER_COUNTS, k_folds, split_cases
from ..io.subjects import subjects_from_table
from . import bids, isles2018, isles2024, unitobrain
from .found import Found, table
from .overview import write_overview
from .prepare import Report, check_folder, prepare

LAYOUTS = {layout.NAME: layout for layout in (isles2018, isles2024, unitobrain, bids)}
UNLABELED = "unlabeled"
"""Section of the cases without a label, where others have one."""


def find_layout(root: Path, name: str | None = None) -> ModuleType:
    """The module of a layout: the named one, else the first whose folders are there.

    Raises:
        FileNotFoundError: `root` is not there.
        DatasetError: the folder has none of the layouts.
    """
    known = ", ".join(f"{layout} ({module.SIGN})" for layout, module in LAYOUTS.items())
    if not root.is_dir():
        raise FileNotFoundError(f"root '{root}': expected the folder of a data set, got nothing there")
    if name is not None:
        if name not in LAYOUTS:
            raise OptionError(f"layout: expected one of {', '.join(LAYOUTS)}, got '{name}'")
        return LAYOUTS[name]
    found = next((module for module in LAYOUTS.values() if module.matches(root)), None)
    if found is None:
        raise DatasetError(f"root '{root}': expected folders of one of the layouts {known}, got none")
    return found


def write_datalists(
    root: Path,
    out: Path,
    *,
    layout: str | None = None,
    patterns: Mapping[str, str] | None = None,
    prepared: Path | None = None,
    registered: bool = False,
    skip_bad: bool = False,
    patients: Path | None = None,
    with_dwi: bool = True,
    folds: int | None = None,
    counts: Sequence[int] = PAPER_COUNTS,
    seed: int = 0,
    overview: Path | None = None,
    report: Report = lambda line: None,
) -> str:
    """Write the datalist of a data set, and those of k folds if wanted.

    Args:
        root: the folder of the data set.
        out: the datalist; the folds are written next to it, as ``<out>_fold0.json`` and so on.
        layout: name of the layout; None finds it.
        patterns: see :func:`scripts.datasets.bids.find`; of that layout only.
        prepared: folder for cases on one grid, see `scripts.datasets.prepare`; paths are then relative to it.
        registered: see :func:`scripts.datasets.prepare.prepare`.
        skip_bad: leave cases with problems out, whose lines go to `report`; otherwise nothing is written.
        patients: table of patients, see :func:`scripts.io.subjects.subjects_from_table`.
        with_dwi: include the DWI of cases that have one.
        folds: k; None writes no folds.
        counts: see :func:`scripts.io.split_cases`.
        seed: of the split.
        overview: also write the page of :mod:`scripts.datasets.overview` to this file.
        report: is told of progress and of what is left out, a line each.

    Returns:
        A table of what was found, and a line that says what was written.

    Raises:
        DatasetError: there are no cases, or cases have problems, all of which are listed.
        ValueError, OSError: see :func:`scripts.io.split_cases`.
    """
    module = find_layout(root, layout)
    if prepared is not None:
        check_folder(prepared, root)
    if registered and (prepared is None or module is not isles2024):
        raise OptionError(f"register: expected the layout isles2024 and --prepared, got {module.NAME}")
    found = _find(module, root, patients, patterns)
    if not with_dwi:
        found.cases = [{key: value for key, value in case.items() if key != "dwi"} for case in found.cases]
    shown = table(found)
    _refuse(found, skip_bad)
    if prepared is None:
        _check_grids(found, module.NAME)
        _refuse(found, skip_bad)
        entries = [_relative(case, root) for case in found.usable]
    else:
        entries = prepare(found, root, prepared, report, registered=registered)
        _refuse(found, skip_bad)
    if not entries:
        raise DatasetError(found.all_problems)
    for line in found.all_problems:
        report(f"left out: {line}")
    names = [case["case"] for case in entries]
    if patients is not None:
        subjects = subjects_from_table(patients, names)
        entries = [{**case, "subject": subject} for case, subject in zip(entries, subjects, strict=True)]
    parts = fold_sections(entries, folds, counts, seed) if folds is not None else []
    fold_of = {case["case"]: {"fold": i} for i, sections in enumerate(parts) for case in sections[SECTIONS[-1]]}
    sections = make_sections([dict(case) | fold_of.get(case["case"], {}) for case in entries], counts, seed)
    for index, fold in enumerate(parts):
        write_datalist(out.with_name(f"{out.stem}_fold{index}{out.suffix}"), fold)
    write_datalist(out, sections)
    if overview is not None:
        write_overview(overview, sections, prepared or root, f"{module.NAME}: {len(entries)} cases")
    listed = ", ".join(f"{name} {len(chosen)}" for name, chosen in sections.items())
    also = f" and {len(parts)} folds" if parts else ""
    left_out = f"{len(found.cases) - len(entries)} left out, " if len(found.cases) > len(entries) else ""
    patient_count = len({case["subject"] for case in entries})
    summary = f"{len(entries)} cases of {patient_count} patients: {left_out}{listed}{also} -> {out}"
    return f"{module.NAME}: {root}\n{shown}\n{summary}"


def make_sections(
    cases: Sequence[Mapping[str, Any]], counts: Sequence[int] = PAPER_COUNTS, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Split the cases by subject.

    Cases without a label all go to `testing` where none has one, as in a challenge's testing set; where others have
    one, to the section `unlabeled`.
    """
    labeled = [case for case in cases if LABEL_KEY in case]
    if not labeled:
        return {name: [dict(case) for case in cases] if name == SECTIONS[-1] else [] for name in SECTIONS}
    others = [dict(case) for case in cases if LABEL_KEY not in case]
    return split_cases(labeled, counts, seed) | ({UNLABELED: others} if others else {})


def fold_sections(
    cases: Sequence[Mapping[str, Any]], folds: int, counts: Sequence[int] = PAPER_COUNTS, seed: int = 0
) -> list[dict[str, list[dict[str, Any]]]]:
    """The sections of every fold: `testing` is the fold, the rest is split into training and validation as `counts`."""
    labeled = [case for case in cases if LABEL_KEY in case] or cases
    parts = k_folds(labeled, folds, seed)
    sections = []
    for index, held_out in enumerate(parts):
        rest = [case for other, part in enumerate(parts) if other != index for case in part]
        split = split_cases(rest, (counts[0], counts[1], 0), seed)
        sections.append(split | {SECTIONS[-1]: held_out})
    return sections


def _find(module: ModuleType, root: Path, patients: Path | None, patterns: Mapping[str, str] | None) -> Found:
    if patterns:
        if module is not bids:
            raise OptionError(f"pattern: expected the layout bids, got {module.NAME}")
        if unknown := sorted(set(patterns) - set(FILE_KEYS)):
            raise OptionError(f"pattern: expected keys of {', '.join(FILE_KEYS)}, got {', '.join(unknown)}")
        return bids.find(root, patterns)
    return isles2018.find(root, patients=patients) if module is isles2018 else module.find(root)


def _refuse(found: Found, skip_bad: bool) -> None:
    if found.problems and not skip_bad:
        raise DatasetError(found.all_problems)


def _check_grids(found: Found, layout: str) -> None:
    """Note cases that need preparation."""
    for case in found.usable:
        if Path(case[SERIES_KEY]).is_dir():
            found.add(case["case"], f"case '{case['case']}', image: expected --prepared FOLDER, got DICOM: {layout}")
            continue
        try:
            check_headers([case])
        except DatasetError as error:
            found.add(case["case"], *(f"{line}; --prepared FOLDER brings it there" for line in error.problems))


def _relative(case: Mapping[str, Any], root: Path) -> dict[str, Any]:
    entry = {key: value for key, value in case.items() if key not in (*FILE_KEYS, isles2024.REFERENCE_KEY)}
    paths = {key: Path(case[key]).relative_to(root).as_posix() for key in (SERIES_KEY, *VOLUME_KEYS) if key in case}
    return entry | paths
