"""Writing a file so that it is either the whole new one or the old one, never a part."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\.ctp-stroke-(?P<place>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp")
_ABANDONED_S = 24 * 3600.0
"""A temporary file that nobody touched for a day is nobody's: a choice, far above what any write takes."""
_in_use: set[str] = set()


@contextmanager
def temporary_path(folder: str | PathLike[str]) -> Iterator[Path]:
    """Give a hidden path in `folder` that does not exist; the file or folder made there is removed at the end.

    Its name tells the process that uses it. A killed process cannot remove its own: the next one that writes into the
    folder does (POSIX; on Windows after a day). The folder is made if it is not there.
    """
    parent = Path(folder)
    parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(parent)
    temporary = parent / f".ctp-stroke-{_place()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
    _in_use.add(temporary.name)
    try:
        yield temporary
    finally:
        _remove(temporary)
        _in_use.discard(temporary.name)


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; it replaces `path` when the block ends well and is removed otherwise.

    The folder is made if it is not there. The temporary file lies in the same folder, since `os.replace` is atomic
    within one file system only, and is on the disk before it replaces `path`: a kill, a full disk or a loss of power
    leaves the old file or the new one.

    Raises:
        OSError: the file cannot be written; it is named also where the system does not say which it was.
    """
    target = Path(path)
    with temporary_path(target.parent) as temporary:
        try:
            yield temporary
            sync(temporary)
        except OSError as error:
            if error.errno is None or error.filename is not None:
                raise
            raise OSError(error.errno, error.strerror, str(target)) from error
        os.replace(temporary, target)
        sync(target.parent)


def write_json(path: str | PathLike[str], content: Any, *, indent: int = 4) -> None:
    """Write `content` as JSON, atomically, with a final newline; NaN and infinity are refused (ValueError)."""
    text = json.dumps(content, indent=indent, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir():
        # Windows cannot open a folder and some network file systems cannot sync one: the rename is atomic all the same.
        with contextlib.suppress(OSError):
            _fsync(path, os.O_RDONLY)
    else:
        _fsync(path, os.O_RDWR)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder, and nothing of a process that runs."""
    for path in folder.glob(".ctp-stroke-*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or path.name in _in_use:
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            here = match["place"] == _place()
            abandoned = time.time() - path.lstat().st_mtime > _ABANDONED_S
            if abandoned or (here and not _is_running(int(match["pid"]))):
                _remove(path)


def _place() -> str:
    """Where a process number means one process: this machine and, in a container, its own numbering."""
    try:
        numbering = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        numbering = ""
    return hashlib.sha256(f"{platform.node()} {numbering}".encode()).hexdigest()[:8]


def _is_running(pid: int) -> bool:
    if pid == os.getpid():
        return False  # what is in use is known: this is of an earlier process with the same number
    if os.name == "nt":
        return True  # os.kill would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
