"""Datalists: JSON files with the sections `training`, `validation` and `testing`, paths relative to a data folder."""

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from .atomic import write_json
from .case import FILE_KEYS, SERIES_KEY, case_name, check_headers
from .errors import CaseError, DatasetError
from .frame_times import INTERVAL_KEY, TIMES_KEY
from .gate import orientation_codes
from .names import repeated_names, same_name

SECTIONS = ("training", "validation", "testing")
ENTRY_KEYS = (*FILE_KEYS, TIMES_KEY, INTERVAL_KEY, "case", "subject", "fold", "orientation")


def load_datalist(
    path: str | PathLike[str],
    section: str,
    dataset_dir: str | PathLike[str],
    *,
    check: bool = True,
    orientation: str | None = None,
) -> list[dict[str, Any]]:
    """Read one section of a datalist, with absolute paths.

    An entry is a case dictionary (see :func:`scripts.io.load_case`), or the path of a series alone. A key whose value
    is null is absent; a key that is not known is dropped, and a warning names it.

    Args:
        path: the JSON file.
        section: `training`, `validation`, `testing`, or any other section of the file.
        dataset_dir: the folder that the entries' paths are relative to, and that none may leave.
        orientation: where the voxel axes of cases point to that do not say it and whose headers do not either.
        check: also check the headers of all files, see :func:`scripts.io.check_headers`.

    Returns:
        One dictionary for each case, each with `case` (a name that no other has) and `image`.

    Raises:
        FileNotFoundError: the datalist or `dataset_dir` is not there.
        DatasetError: the file is not JSON or has no such section, the section is empty, an entry is malformed, a path
            leaves `dataset_dir`, two cases have one name, or (with `check`) files are missing or wrong. All problems
            of the section are listed.
    """
    root = Path(dataset_dir)
    entries = _read_section(Path(path), section, root)
    problems: list[str] = []
    cases: list[dict[str, Any]] = []
    unknown: set[str] = set()
    for index, entry in enumerate(entries):
        try:
            cases.append(_parse_entry(entry, root))
        except ValueError as error:
            problems.append(f"datalist '{path}', {section}[{index}]: {error}")
        if isinstance(entry, dict):
            unknown.update(set(entry) - set(ENTRY_KEYS))
    problems += [f"datalist '{path}', {section}: {text}" for text in name_cases(cases, root)]
    if problems:
        raise DatasetError(problems)
    if unknown:
        warnings.warn(f"datalist '{path}', {section}: ignored the unknown keys {sorted(unknown)}", stacklevel=2)
    if orientation is not None:
        cases = [{"orientation": orientation_codes(orientation), **case} for case in cases]
    if check:
        check_headers(cases)
    return cases


def write_datalist(path: str | PathLike[str], sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write a datalist, atomically.

    Args:
        path: the JSON file to write.
        sections: the entries of each section, with paths relative to the data folder.
    """
    write_json(path, {name: [dict(entry) for entry in entries] for name, entries in sections.items()})


def _read_section(path: Path, section: str, root: Path) -> list[Any]:
    advice = "`ctp-stroke phantom --out FOLDER --cases 94` makes the synthetic data set"
    if not root.is_dir():
        raise FileNotFoundError(f"dataset_dir '{root}': expected a folder, got nothing there; {advice}")
    if not path.is_file():
        raise FileNotFoundError(f"datalist '{path}': expected a JSON file, got nothing there; {advice}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"datalist '{path}': expected valid JSON, got {error}") from error
    if not isinstance(content, dict) or section not in content:
        found = sorted(content) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DatasetError(f"datalist '{path}': expected a section '{section}', got {found}")
    entries = content[section]
    if not isinstance(entries, list) or not entries:
        got = "an empty one" if entries == [] else f"a {type(entries).__name__}"
        raise DatasetError(f"datalist '{path}': expected a list of cases in section '{section}', got {got}")
    return entries


def _parse_entry(entry: Any, root: Path) -> dict[str, Any]:
    if isinstance(entry, str):
        entry = {SERIES_KEY: entry}
    if not isinstance(entry, dict) or entry.get(SERIES_KEY) is None:
        got = f"the keys {sorted(entry)}" if isinstance(entry, dict) else repr(entry)
        raise ValueError(f"expected a case with the key '{SERIES_KEY}', got {got}")
    case = {key: entry[key] for key in ENTRY_KEYS if entry.get(key) is not None}
    for key in (*FILE_KEYS, TIMES_KEY):
        if key in case and not (key == TIMES_KEY and isinstance(case[key], list)):
            case[key] = _inside(case[key], key, root)
    for key in ("case", "subject"):
        if not isinstance(case.get(key, ""), (str, int)):
            raise ValueError(f"{key}: expected a name, got {case[key]!r}")
    case_name(case)
    return case


def _inside(path: Any, key: str, root: Path) -> str:
    """The absolute path of a file that does not leave `root`, neither by `..` nor by a link."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"{key}: expected the path of a file, got {path!r}")
    target = root.absolute() / path
    try:
        inside = target.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a loop of links
        inside = False
    if not inside:
        raise ValueError(f"{key}: expected a path inside dataset_dir '{root}', got '{path}', which leaves it")
    return str(target)


def name_cases(cases: list[dict[str, Any]], root: Path) -> list[str]:
    """Set `case` in every case; names that come from paths are lengthened where two are the same.

    Two names are the same where one file system takes them for one folder, such as `A` and `a`.
    """
    problems: list[str] = []
    counts = Counter(same_name(case_name(case)) for case in cases)
    for case in cases:
        name = case_name(case)
        if "case" not in case and counts[same_name(name)] > 1:
            relative = Path(case[SERIES_KEY]).absolute().relative_to(root.absolute())
            name = "_".join([*relative.parts[:-1], name])
        case["case"] = case.get("case", name)
        try:
            case_name(case)
        except CaseError as error:
            problems.append(str(error))
    return problems + repeated_names(str(case["case"]) for case in cases)
