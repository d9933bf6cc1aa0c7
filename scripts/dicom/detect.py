"""Whether a path is DICOM, told without `pydicom`, which an optional extra installs."""

from __future__ import annotations

import importlib.metadata
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

EXTRA = 'pip install "ctp-stroke-lesion-segmentation[dicom]"'
MOST_FILES = 50_000
"""Files of a folder or an archive: 320 slices at 60 times, the largest CT-perfusion examination, are 19,200."""

_PREAMBLE = 128
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # the first group of files without a preamble: meta information, or 0008
_OTHER_INPUTS = (".nii", ".nii.gz")
_ZIP = b"PK\x03\x04"


def require_pydicom() -> None:
    """Raise ModuleNotFoundError, in one line that says what to install, unless `pydicom` 3 is there."""
    try:
        version = importlib.metadata.version("pydicom")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if not version or int(version.split(".")[0]) < 3:
        got = f"pydicom {version}" if version else "none"
        raise ModuleNotFoundError(f"DICOM: expected pydicom 3 or later, got {got}; {EXTRA}")


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a DICOM file, a DICOMDIR, a zip archive with DICOM files, or a folder with such files.

    A folder with `datalist.json` or a NIfTI file is none: it is read as before.
    """
    place = Path(path)
    try:
        if place.is_dir():
            return _is_study(place)
        if not place.is_file() or place.name.lower().endswith((*_OTHER_INPUTS, ".json")):
            return False
        with place.open("rb") as stream:
            if stream.read(4) == _ZIP:
                return True  # nothing else that is read is a zip archive; reading it says what it lacks
            stream.seek(0)
            return begins_as_dicom(stream)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def begins_as_dicom(stream: BinaryIO) -> bool:
    """Whether a stream begins as a DICOM file does, with the preamble or, as some PACS export, without."""
    start = stream.read(_PREAMBLE + 4)
    if start[_PREAMBLE:] == b"DICM":
        return True
    # Without a preamble: an element of the first groups whose value representation or length makes sense.
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    implicit = start[6:8] == b"\0\0"
    return len(start) > 8 and start[:2] in _FIRST_GROUPS and start[3:4] == b"\0" and (explicit or implicit)


def files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and its subfolders, in order; hidden ones and links to folders are left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(root, name)
            if not name.startswith(".") and file.is_file():  # not a pipe or a device
                yield file


def _is_study(folder: Path) -> bool:
    if (folder / "datalist.json").is_file():
        return False
    found = False
    for count, file in enumerate(files_below(folder)):
        if file.name.lower().endswith(_OTHER_INPUTS):
            return False
        if not found and count < MOST_FILES:
            with file.open("rb") as stream:
                found = begins_as_dicom(stream)
    return found
