"""What a layout finds in a folder: the cases, and what is wrong with which of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..io.case import FILE_KEYS, SERIES_KEY, VOLUME_KEYS, check_headers
from ..io.errors import CaseError, DatasetError
from ..io.nifti import open_nifti

MAX_NAMES = 5


@dataclass
class Found:
    """Cases of a data set.

    Attributes:
        cases: dictionaries with `case`, `subject` and the paths of the files that exist, as strings.
        problems: the lines for each case that cannot be used, by its name.
        others: number of files that are known and not used, by what they are.
    """

    cases: list[dict[str, Any]]
    problems: dict[str, list[str]] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> list[dict[str, Any]]:
        """The cases without a problem."""
        return [case for case in self.cases if not self.problems.get(case["case"])]

    @property
    def all_problems(self) -> list[str]:
        """The lines of all cases."""
        return [line for lines in self.problems.values() for line in lines]

    def add(self, name: str, *lines: object) -> None:
        """Note problems of a case."""
        if lines:
            self.problems.setdefault(name, []).extend(str(line) for line in lines)


def nifti_files(root: Path) -> Iterator[Path]:
    """The NIfTI files below a folder, sorted; hidden files and folders (such as macOS's `._*`) are left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith((".nii", ".nii.gz")) and not name.startswith("."):
                yield Path(folder, name)


def sidecar(series: Path) -> Path | None:
    """The JSON file next to a series that has its name, if there is one."""
    path = series.with_name(series.name[: series.name.lower().rindex(".nii")] + ".json")
    return path if path.is_file() else None


def only_file(found: Found, name: str, key: str, what: str, files: Sequence[Path], *, needed: bool) -> Path | None:
    """The only file of a key; several, or none of a needed one, are noted as a problem."""
    if len(files) > 1:
        got = f"{len(files)}: {', '.join(path.name for path in files)}"
        found.add(name, CaseError.of(name, key, None, f"one {what} file", got))
    elif not files and needed:
        found.add(name, CaseError.of(name, key, None, f"one {what} file", "none"))
    return files[0] if files else None


def check(found: Found, *, one_grid: bool) -> Found:
    """Note what the headers of the cases' files show to be wrong.

    Args:
        found: the cases; those without a series, which is noted already, are left out.
        one_grid: whether maps, DWI and label must lie on the grid of the series.
    """
    for case in found.cases:
        if SERIES_KEY not in case or Path(case[SERIES_KEY]).is_dir():
            continue
        try:
            check_headers([case if one_grid else {k: v for k, v in case.items() if k not in VOLUME_KEYS}])
        except DatasetError as error:
            found.add(case["case"], *error.problems)
        if not one_grid:
            found.add(case["case"], *_volume_problems(case))
    return found


def _volume_problems(case: Mapping[str, Any]) -> Iterator[Exception]:
    for key in VOLUME_KEYS:
        if key not in case or Path(case[key]).is_dir():
            continue
        try:
            shape = open_nifti(case[key], case=case["case"], key=key).shape
        except (CaseError, OSError) as error:
            yield error
            continue
        if len(shape) < 3 or any(size > 1 for size in shape[3:]):
            yield CaseError.of(case["case"], key, case[key], "a 3D volume (H, W, D)", f"{len(shape)}D {tuple(shape)}")


def table(found: Found) -> str:
    """How many files of each kind there are, and which cases lack them."""
    lines = [f"{'file':<8}{'found':>6}  missing from"]
    for key in FILE_KEYS:
        missing = [case["case"] for case in found.cases if key not in case]
        names = ", ".join(missing[:MAX_NAMES])
        if len(missing) == len(found.cases):
            names = "all"
        elif len(missing) > MAX_NAMES:
            names += f" and {len(missing) - MAX_NAMES} more"
        lines.append(f"{key:<8}{len(found.cases) - len(missing):>6}  {names or '-'}")
    lines += [f"{key:<8}{count:>6}  (not used)" for key, count in found.others.items()]
    return "\n".join(lines)
