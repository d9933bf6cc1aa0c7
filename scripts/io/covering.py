"""Refusing an output that would take the place of an input."""

import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from .errors import DatasetError


def refuse_covering(outputs: Iterable[str | PathLike[str]], inputs: Iterable[str | PathLike[str]]) -> None:
    """Refuse to write where an input lies; call it before anything is computed.

    The same file counts under any of its names: another path, a symbolic or hard link, other letter case on a file
    system that does not tell cases apart.

    Args:
        outputs: the files that will be written.
        inputs: the files that are read. One that is not there is compared by its path.

    Raises:
        DatasetError: an output is an input, or is a folder, or lies in a "folder" that is a file. All are listed.
    """
    by_identity: dict[tuple[int, int] | str, str] = {}
    for path in inputs:
        by_identity.update(dict.fromkeys(_identities(path), os.fspath(path)))
    problems = []
    for path in map(Path, outputs):
        covered = next((by_identity[found] for found in _identities(path) if found in by_identity), None)
        file = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
        if covered is not None:
            problems.append(f"output '{path}': expected a place of its own, got that of the input '{covered}'")
        elif file is not None:
            problems.append(f"output '{path}': expected a folder '{file}', got a file")
        elif path.is_dir():
            problems.append(f"output '{path}': expected a file or nothing there, got a folder")
    if problems:
        raise DatasetError(problems)


def _identities(path: str | PathLike[str]) -> list[tuple[int, int] | str]:
    """What a file is known by: its place with all links resolved and, where it exists, its device and inode."""
    identities: list[tuple[int, int] | str] = [os.path.normcase(os.path.realpath(path))]
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return identities
    return [*identities, (status.st_dev, status.st_ino)]
