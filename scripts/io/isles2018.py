"""ISLES 2018 folders to datalists.

The layout is that of the challenge's archive, of which `ROOT` is the unpacked folder, its `TRAINING` folder, or any
folder that holds `case_N` folders::

    TRAINING/case_1/SMIR.Brain.XX.O.CT_4DPWI.345562/SMIR.Brain.XX.O.CT_4DPWI.345562.nii
    TRAINING/case_1/SMIR.Brain.XX.O.CT_CBF.345563/…         also CT_CBV, CT_MTT, CT_Tmax, OT, perhaps MR_DWI

Files are told apart by the modality token in their names; the plain `CT` is not used. `OT` (the lesion) may only be
missing from all cases, as in the testing set; `MR_DWI` from any.

The 94 training scans are of 63 patients; :mod:`scripts.io.subjects` says how scans of one patient are told.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from .case import FILE_KEYS, LABEL_KEY, SERIES_KEY, check_headers
from .datalist import SECTIONS, write_datalist
from .errors import CaseError, DatasetError
from .splits import PAPER_COUNTS, k_folds, split_cases
from .subjects import case_number, subjects_from_headers, subjects_from_table

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


def find_cases(
    root: str | PathLike[str], *, with_dwi: bool = True, patients: str | PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """Find and check the cases of an ISLES 2018 folder.

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
    base = top / "TRAINING" if (top / "TRAINING").is_dir() else top
    numbers = {f: n for f in base.iterdir() if f.is_dir() and (n := case_number(f.name)) is not None}
    folders = sorted(numbers, key=numbers.__getitem__)
    if not folders:
        raise DatasetError(f"root '{top}': expected folders case_1, case_2, …, got none in '{base}'")
    found = {folder.name: _files_of(folder, with_dwi=with_dwi) for folder in folders}
    cases = [
        {"case": name} | {key: str(files[key][0]) for key in MODALITIES if files[key]} for name, files in found.items()
    ]
    problems = _wrong_counts(found)
    try:
        check_headers(case for case in cases if SERIES_KEY in case)
    except DatasetError as error:
        problems += error.problems
    if problems:
        raise DatasetError(problems)
    subjects = subjects_from_headers(cases) if patients is None else subjects_from_table(patients, list(found))
    return [
        {"case": case["case"], "subject": subject}
        | {key: Path(case[key]).relative_to(top).as_posix() for key in FILE_KEYS if key in case}
        for case, subject in zip(cases, subjects, strict=True)
    ]


def _files_of(folder: Path, *, with_dwi: bool) -> dict[str, list[Path]]:
    """The NIfTI files of a case folder by key; hidden files (such as macOS's `._*`) are left out."""
    files: dict[str, list[Path]] = {key: [] for key in MODALITIES}
    for file in sorted(folder.rglob("*.nii*")):
        relative = file.relative_to(folder)
        if not file.name.lower().endswith((".nii", ".nii.gz")) or any(p.startswith(".") for p in relative.parts):
            continue
        key = _key_of(file.name) or next((k for part in relative.parts[:-1] if (k := _key_of(part))), None)
        if key is not None and (with_dwi or key != "dwi"):
            files[key].append(file)
    return files


def _key_of(name: str) -> str | None:
    tokens = {token.lower() for token in name.split(".")}
    return next((key for key, modality in MODALITIES.items() if modality.lower() in tokens), None)


def _wrong_counts(found: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[str]:
    """One line for each file that is missing or there more than once."""
    labeled = any(files[LABEL_KEY] for files in found.values())
    optional = {"dwi"} if labeled else {"dwi", LABEL_KEY}
    problems: list[str] = []
    for name, files in found.items():
        for key, modality in MODALITIES.items():
            paths = files[key]
            if len(paths) > 1:
                got = f"{len(paths)}: {', '.join(path.name for path in paths)}"
                problems.append(str(CaseError.of(name, key, None, f"one {modality} file", got)))
            elif not paths and key not in optional:
                problems.append(str(CaseError.of(name, key, None, f"one {modality} file", "none")))
    return problems


def make_sections(
    cases: Sequence[Mapping[str, Any]], counts: Sequence[int] = PAPER_COUNTS, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Split the cases by subject; cases without a label (the challenge's testing set) all go to `testing`."""
    if not any(LABEL_KEY in case for case in cases):
        return {name: [dict(case) for case in cases] if name == SECTIONS[-1] else [] for name in SECTIONS}
    return split_cases(cases, counts, seed)


def fold_sections(
    cases: Sequence[Mapping[str, Any]], folds: int, counts: Sequence[int] = PAPER_COUNTS, seed: int = 0
) -> list[dict[str, list[dict[str, Any]]]]:
    """The sections of every fold: `testing` is the fold, the rest is split into training and validation as `counts`."""
    parts = k_folds(cases, folds, seed)
    sections = []
    for index, held_out in enumerate(parts):
        rest = [case for other, part in enumerate(parts) if other != index for case in part]
        split = split_cases(rest, (counts[0], counts[1], 0), seed)
        sections.append(split | {SECTIONS[-1]: held_out})
    return sections


def write_datalists(
    root: Path,
    out: Path,
    *,
    patients: Path | None = None,
    with_dwi: bool = True,
    folds: int | None = None,
    counts: Sequence[int] = PAPER_COUNTS,
    seed: int = 0,
) -> str:
    """Write the datalist of an ISLES 2018 folder, and those of k folds if wanted.

    Args:
        root: see :func:`find_cases`.
        out: the datalist; the folds are written next to it, as ``<out>_fold0.json`` and so on.
        patients: see :func:`find_cases`.
        with_dwi: include the DWI of cases that have one.
        folds: k; None writes no folds.
        counts: see :func:`scripts.io.split_cases`.
        seed: of the split.

    Returns:
        A line that says what was written.

    Raises:
        ValueError, OSError: see :func:`find_cases` and :func:`scripts.io.split_cases`.
    """
    cases = find_cases(root, with_dwi=with_dwi, patients=patients)
    parts = fold_sections(cases, folds, counts, seed) if folds is not None else []
    fold_of = {case["case"]: {"fold": i} for i, sections in enumerate(parts) for case in sections[SECTIONS[-1]]}
    sections = make_sections([dict(case) | fold_of.get(case["case"], {}) for case in cases], counts, seed)
    for index, fold in enumerate(parts):
        write_datalist(out.with_name(f"{out.stem}_fold{index}{out.suffix}"), fold)
    write_datalist(out, sections)
    listed = ", ".join(f"{name} {len(chosen)}" for name, chosen in sections.items())
    also = f" and {len(parts)} folds" if parts else ""
    return f"{len(cases)} cases of {len({case['subject'] for case in cases})} patients: {listed}{also} -> {out}"


if __name__ == "__main__":  # `python -m scripts.io.isles2018` is `ctp-stroke datalist`
    import runpy
    import sys

    sys.argv[1:1] = ["datalist"]
    runpy.run_module("scripts", run_name="__main__")
