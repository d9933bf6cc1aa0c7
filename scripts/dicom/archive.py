"""Zip archives of studies, read member by member: nothing is unpacked to the disk."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, NamedTuple, cast

from ..io.nifti import MAX_PACKED_RATIO, MAX_VOLUME_BYTES
from .detect import MOST_FILES
from .errors import DicomError

_SMALL_BYTES = 256 << 20
_ENCRYPTED = 0x1


class Member(NamedTuple):
    """A file of an archive."""

    filename: str
    open: Callable[[], BinaryIO]


def members(archive: zipfile.ZipFile, place: Path) -> Iterator[Member]:
    """The files of an archive, in order of their names.

    What is checked is what the directory of the archive says; `zipfile` reads no more bytes of a member than that.

    Raises:
        DicomError: a name is absolute or leads out of the archive, a member is encrypted, there are more than
            MOST_FILES, or they unpack to more than MAX_VOLUME_BYTES or MAX_PACKED_RATIO times the archive's size.
    """
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    where = f"'{place}'"
    if len(entries) > MOST_FILES:
        raise DicomError.at(where, f"an archive of at most {MOST_FILES} files", len(entries))
    total = sum(entry.file_size for entry in entries)
    packed = max(place.stat().st_size, 1)
    if total > MAX_VOLUME_BYTES or total > max(_SMALL_BYTES, packed * MAX_PACKED_RATIO):
        limit = f"{MAX_VOLUME_BYTES} bytes or {MAX_PACKED_RATIO} times its size"
        raise DicomError.at(where, f"an archive that unpacks to at most {limit}", f"{packed} bytes that hold {total}")
    for entry in sorted(entries, key=lambda entry: entry.filename):
        if _leads_out(entry.filename):
            raise DicomError.at(where, "members with relative names", f"{entry.filename!r}")
        if entry.flag_bits & _ENCRYPTED:
            raise DicomError.at(where, "an archive without a password", f"the encrypted member {entry.filename!r}")
        if not PurePosixPath(entry.filename).name.startswith("."):
            yield Member(entry.filename, lambda entry=entry: cast(BinaryIO, archive.open(entry)))  # type: ignore[misc]


def _leads_out(name: str) -> bool:
    """Whether a name is absolute, or has `..`, on any system."""
    windows = PureWindowsPath(name)
    return name.startswith(("/", "\\")) or bool(windows.drive) or ".." in windows.parts
