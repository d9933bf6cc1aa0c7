"""From the header of a file to what reading needs of it."""

from __future__ import annotations

import logging
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

from .clock import attribute_s, date_and_time_s
from .errors import DicomError
from .files import StudyFile
from .frames import frame_samples
from .pixel_format import pixel_format
from .sample import CT_IMAGE, MULTI_FRAME, Entry, Sample
from .values import number, numbers, optional_number, tag_of, text

if TYPE_CHECKING:
    from pydicom import Dataset

_UNITS = ("", "HU", "US")  # US: not specified
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MOST_DEFLATED_BYTES = 256 << 20
_KEYWORDS = """
SpecificCharacterSet SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber Modality ImageType
Manufacturer FrameOfReferenceUID ConvolutionKernel KVP SliceThickness AcquisitionNumber InstanceNumber
AcquisitionDateTime AcquisitionDate AcquisitionTime ContentDate ContentTime TriggerTime FrameReferenceTime
TemporalPositionIdentifier TemporalResolution ImagePositionPatient ImageOrientationPatient PixelSpacing
Rows Columns SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation NumberOfFrames
PixelPaddingValue PixelPaddingRangeLimit RescaleSlope RescaleIntercept RescaleType
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"""


@cache
def _tags() -> list[int]:
    return [tag_of(keyword) for keyword in _KEYWORDS.split()]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `pydicom` from checking every value and from printing values, which may identify the patient."""
    from pydicom.config import disable_value_validation

    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def read_entry(file: StudyFile) -> Entry | None:
    """Read the header of a file; None for a DICOMDIR.

    Raises:
        DicomError: it cannot be read, or it lacks the identifiers that every object has.
    """
    data, offset = read_header(file)
    place = f"'{file.name}'"
    sop_class = text(data, "SOPClassUID")
    if not sop_class and text(data.file_meta, "MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":
        return None
    uid = text(data, "SOPInstanceUID")
    series_uid, study_uid = text(data, "SeriesInstanceUID"), text(data, "StudyInstanceUID")
    identifiers = {"SOPClassUID": sop_class, "SOPInstanceUID": uid}
    identifiers |= {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    if missing := [name for name, value in identifiers.items() if not value]:
        raise DicomError.at(place, f"a DICOM object with {', '.join(missing)}", "none")
    image_type = text(data, "ImageType").upper().split("\\")
    number = optional_number(data, "SeriesNumber")
    samples: tuple[Sample, ...] = ()
    problem = ""
    if _may_be_perfusion(data, sop_class, image_type):
        try:
            samples = tuple(_samples(data, file, uid, offset))
        except DicomError as error:
            problem = str(error)
    return Entry(
        file,
        uid,
        sop_class,
        series_uid,
        study_uid,
        int(number) if number is not None and number == number else None,
        text(data, "Modality"),
        image_type[:1] == ["DERIVED"],
        samples,
        problem,
    )


def read_header(file: StudyFile, keywords: bool = True) -> tuple[Dataset, int]:
    """The header without pixels, and where the element of the pixels begins.

    Args:
        file: the file.
        keywords: read only what reading needs; otherwise everything.

    Raises:
        DicomError: the file cannot be read.
    """
    from pydicom import dcmread

    try:
        with file.open() as stream:
            _check_deflated(stream)
            data = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_tags() if keywords else None)
            return data, stream.tell()
    except DicomError as error:
        raise DicomError.at(f"'{file.name}'", "a DICOM file that can be read", error) from error
    except Exception as error:  # what a damaged file leads its reader to has no bound
        raise DicomError.at(f"'{file.name}'", "a DICOM file that can be read", type(error).__name__) from error


def _check_deflated(stream: BinaryIO) -> None:
    """Raise DicomError where a deflated file unpacks to more than memory should hold; `pydicom` would unpack it all."""
    start = stream.read(1024)
    if _DEFLATED in start:
        # The group of meta information begins with its length (PS3.10, section 7.1).
        if start[132:136] != b"\2\0\0\0":
            raise DicomError("deflated data after meta information without a length")
        stream.seek(144 + int.from_bytes(start[140:144], "little"))
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        unpacked = 0
        while (chunk := unpacker.unconsumed_tail or stream.read(1 << 16)) and not unpacker.eof:
            unpacked += len(unpacker.decompress(chunk, 1 << 20))
            if unpacked > _MOST_DEFLATED_BYTES:
                raise DicomError(f"deflated data of more than {_MOST_DEFLATED_BYTES} bytes")
    stream.seek(0)


def _may_be_perfusion(data: Dataset, sop_class: str, image_type: list[str]) -> bool:
    """Whether an object is a CT image that is no localizer, no picture in color and no map of something else."""
    return (
        sop_class in (CT_IMAGE, *MULTI_FRAME)
        and "LOCALIZER" not in image_type
        and optional_number(data, "SamplesPerPixel") in (1, None)
        and text(data, "RescaleType").upper() in _UNITS
    )


def _samples(data: Dataset, file: StudyFile, uid: str, offset: int) -> Iterator[Sample]:
    place = f"'{file.name}' (SOP Instance UID {uid})"
    pixels = pixel_format(data, offset, place)
    if text(data, "SOPClassUID") in MULTI_FRAME:
        yield from frame_samples(data, file, uid, pixels, place)
        return
    if pixels.n_frames != 1:
        raise DicomError.at(place, "one frame of a classic CT image", pixels.n_frames)
    yield Sample(
        file,
        uid,
        0,
        pixels,
        numbers(data, "ImagePositionPatient", 3, place),
        numbers(data, "ImageOrientationPatient", 6, place),
        numbers(data, "PixelSpacing", 2, place),
        _or_nan(optional_number(data, "SliceThickness")),
        number(data, "RescaleSlope", place),
        number(data, "RescaleIntercept", place),
        _setting(data),
        text(data, "Manufacturer"),
        text(data, "SeriesInstanceUID"),
        (optional_number(data, "AcquisitionNumber") or 0.0, optional_number(data, "InstanceNumber") or 0.0),
        _clock(data),
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _setting(data: Dataset) -> tuple[object, ...]:
    words = ("StudyInstanceUID", "FrameOfReferenceUID", "ConvolutionKernel", "KVP", "SliceThickness", "Manufacturer")
    return tuple(text(data, word) for word in words)


def _clock(data: Dataset) -> dict[str, float]:
    """What a classic header says of the time; dates and times in s, the rest in its own unit."""
    found = {
        "AcquisitionDateTime": attribute_s(data, "AcquisitionDateTime"),
        "AcquisitionTime": date_and_time_s(data, "Acquisition"),
        "ContentTime": date_and_time_s(data, "Content"),
    }
    for keyword in ("TriggerTime", "FrameReferenceTime", "TemporalPositionIdentifier", "TemporalResolution"):
        found[keyword] = optional_number(data, keyword)
    return {name: value for name, value in found.items() if value is not None}
