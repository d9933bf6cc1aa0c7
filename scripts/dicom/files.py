"""The files of a study: of a folder, a DICOMDIR, a zip archive, or a single file."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .archive import members
from .detect import MOST_FILES, begins_as_dicom, files_below
from .errors import DicomError

_LONG_BYTES = 1 << 16


class StudyFile(NamedTuple):
    """A file that can be opened more than once."""

    name: str
    """Its path, or the archive's and the member's, for messages."""
    open: Callable[[], BinaryIO]


@contextmanager
def study_files(path: str | os.PathLike[str]) -> Iterator[Iterator[StudyFile]]:
    """Give the DICOM files of a path, while the block lasts; files of other kinds are left out.

    Raises:
        FileNotFoundError: there is nothing at the path, or a file that a DICOMDIR lists is not there.
        DicomError: more than MOST_FILES files; an archive that cannot be read or may not be unpacked.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"'{place}': expected a DICOM file, folder or archive, got nothing there")
    if place.is_dir():
        yield _dicom_only(_on_disk(files_below(place)), place)
    elif zipfile.is_zipfile(place):
        with _opened(place) as archive:
            yield _dicom_only((StudyFile(f"{place}!{m.filename}", m.open) for m in members(archive, place)), place)
    elif place.name.upper() == "DICOMDIR":
        yield _dicom_only(_on_disk(_listed(place)), place)
    else:
        yield _dicom_only(_on_disk(iter([place])), place)


def _opened(place: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(place)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DicomError.at(f"'{place}'", "an archive that can be read", error) from error


class _Bounded(io.BufferedReader):
    """A file of which no more is read than there is: Python allocates what a damaged header asks for, up to 4 GB."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes."""
        if size is not None and size > _LONG_BYTES:
            size = min(size, max(self.size - self.tell(), 0))
        return super().read(size)


def _on_disk(paths: Iterator[Path]) -> Iterator[StudyFile]:
    return (StudyFile(str(path), lambda path=path: _Bounded(path)) for path in paths)  # type: ignore[misc]


def _dicom_only(files: Iterator[StudyFile], place: Path) -> Iterator[StudyFile]:
    for count, file in enumerate(files):
        if count >= MOST_FILES:
            raise DicomError.at(f"'{place}'", f"a study of at most {MOST_FILES} files", "more")
        try:
            with file.open() as stream:
                found = begins_as_dicom(stream)
        except (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DicomError.at(f"'{file.name}'", "a file that can be read", error) from error
        if found:
            yield file


def _listed(directory: Path) -> Iterator[Path]:
    """The files that a DICOMDIR lists (PS3.10, section 8: up to 8 components, relative to its folder)."""
    import pydicom

    try:
        records = pydicom.dcmread(directory).DirectoryRecordSequence
        named = [list(_components(record.ReferencedFileID)) for record in records if "ReferencedFileID" in record]
    except Exception as error:  # what a damaged file leads its reader to has no bound
        raise DicomError.at(f"'{directory}'", "a DICOMDIR that can be read", type(error).__name__) from error
    for components in named:
        wrong = [part for part in components if part in ("", ".", "..") or set(part) & set("/\\:\0")]
        if wrong:
            raise DicomError.at(f"'{directory}'", "names of files in its folder", f"the component {wrong[0]!r}")
        # A copy of a disc may have its names in lower case.
        names = (components, [part.lower() for part in components])
        file = next((file for parts in names if (file := directory.parent.joinpath(*parts)).is_file()), None)
        if file is None:
            listed = "/".join(components)
            raise FileNotFoundError(f"'{directory}': expected the file '{listed}' that it lists, got none")
        yield file


def _components(file_id: object) -> Iterator[str]:
    return iter([file_id]) if isinstance(file_id, str) else map(str, file_id)  # type: ignore[call-overload]
