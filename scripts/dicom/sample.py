"""One image of one slice at one time, and what its header says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .files import StudyFile

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.2"
MULTI_FRAME = (ENHANCED_CT, LEGACY_ENHANCED_CT)


class PixelFormat(NamedTuple):
    """How pixels are stored; the same for all frames of an object."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    padding: tuple[int, int] | None
    """The lowest and the highest stored value that is no measurement."""
    transfer_syntax: str
    offset: int
    """Where the element of the pixels begins in the file, bytes."""
    n_frames: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: an object of classic CT, or a frame of enhanced CT."""

    file: StudyFile
    uid: str
    """SOP Instance UID."""
    frame: int
    """Its index in the object."""
    pixels: PixelFormat
    position_mm: tuple[float, ...]
    """(3,) center of the first pixel, LPS."""
    orientation: tuple[float, ...]
    """(6,) direction of a row and of a column, LPS."""
    spacing_mm: tuple[float, ...]
    """(2,) between rows and between columns."""
    thickness_mm: float
    """NaN where the header has none."""
    slope: float
    intercept: float
    setting: tuple[object, ...]
    """What images of one reconstruction of one acquisition have in common, besides their places."""
    manufacturer: str
    series_uid: str
    order: tuple[float, ...]
    """Number of the acquisition and of the instance or frame: the order where no times tell it."""
    clock: dict[str, float] = field(default_factory=dict)
    """What the header says of its time, by attribute: s, as `scripts.dicom.times` explains; NaN: cannot be read."""

    @property
    def place(self) -> str:
        """The file and the instance, for messages."""
        frame = f", frame {self.frame + 1}" if self.pixels.n_frames > 1 else ""
        return f"'{self.file.name}' (SOP Instance UID {self.uid}{frame})"


@dataclass(frozen=True, slots=True)
class Entry:
    """A DICOM object of the study."""

    file: StudyFile
    uid: str
    sop_class_uid: str
    series_uid: str
    study_uid: str
    series_number: int | None
    modality: str
    derived: bool
    """Made of other images, such as averages over time."""
    samples: tuple[Sample, ...] = ()
    """The images of a CT object that can be one of a perfusion series."""
    problem: str = ""
    """Why a CT object has none, in one line."""
