"""The frames of enhanced multi-frame CT, from its functional groups (PS3.3, section C.7.6.16)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .clock import attribute_s, date_and_time_s
from .errors import DicomError
from .files import StudyFile
from .sample import PixelFormat, Sample
from .values import number, numbers, optional_number, text

if TYPE_CHECKING:
    from pydicom import Dataset

_MOST_FRAMES = 50_000


def frame_samples(data: Dataset, file: StudyFile, uid: str, pixels: PixelFormat, place: str) -> Iterator[Sample]:
    """The frames of an enhanced CT object.

    Raises:
        DicomError: a functional group that geometry or values need is missing.
    """
    shared = _first(data, "SharedFunctionalGroupsSequence", place)
    groups = _items(data, "PerFrameFunctionalGroupsSequence", place)
    if len(groups) != pixels.n_frames or not 0 < len(groups) <= _MOST_FRAMES:
        raise DicomError.at(place, f"functional groups of {pixels.n_frames} frames", len(groups))
    for index, own in enumerate(groups):
        frame = _Frame(own, shared, f"{place}, frame {index + 1}")
        measures, values = frame.group("PixelMeasuresSequence"), frame.group("PixelValueTransformationSequence")
        yield Sample(
            file,
            uid,
            index,
            pixels,
            numbers(frame.group("PlanePositionSequence"), "ImagePositionPatient", 3, frame.place),
            numbers(frame.group("PlaneOrientationSequence"), "ImageOrientationPatient", 6, frame.place),
            numbers(measures, "PixelSpacing", 2, frame.place),
            math.nan if (thickness := optional_number(measures, "SliceThickness")) is None else thickness,
            number(values, "RescaleSlope", frame.place),
            number(values, "RescaleIntercept", frame.place),
            (text(data, "StudyInstanceUID"), text(data, "FrameOfReferenceUID"), text(measures, "SliceThickness")),
            text(data, "Manufacturer"),
            text(data, "SeriesInstanceUID"),
            (optional_number(data, "InstanceNumber") or 0.0, float(index)),
            _clock(frame, data, pixels.n_frames),
        )


class _Frame:
    """The functional groups of a frame: its own, or else the shared ones."""

    def __init__(self, own: Dataset, shared: Dataset, place: str):
        self.own, self.shared, self.place = own, shared, place

    def group(self, keyword: str, optional: bool = False) -> Dataset:
        from pydicom import Dataset

        for groups in (self.own, self.shared):
            if keyword in groups:
                return _first(groups, keyword, self.place)
        if optional:
            return Dataset()
        raise DicomError.at(self.place, f"the functional group {keyword}", "none")


def _clock(frame: _Frame, data: Dataset, n_frames: int) -> dict[str, float]:
    """What the functional groups say of the time of a frame; those of the whole object hold only if it has one frame.

    Objects that were converted from classic ones keep their attributes in a group of its own.
    """
    content = frame.group("FrameContentSequence", optional=True)
    temporal = frame.group("TemporalPositionSequence", optional=True)
    converted = frame.group("UnassignedPerFrameConvertedAttributesSequence", optional=True)
    found = {
        "FrameAcquisitionDateTime": attribute_s(content, "FrameAcquisitionDateTime"),
        "FrameReferenceDateTime": attribute_s(content, "FrameReferenceDateTime"),
        "AcquisitionDateTime": attribute_s(converted if n_frames > 1 else data, "AcquisitionDateTime"),
        "AcquisitionTime": date_and_time_s(converted, "Acquisition"),
        "ContentTime": date_and_time_s(converted, "Content"),
        "TemporalPositionTimeOffset": optional_number(temporal, "TemporalPositionTimeOffset"),
        "TemporalPositionIdentifier": optional_number(content, "TemporalPositionIndex"),
        "TemporalResolution": optional_number(data, "TemporalResolution"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _items(data: Dataset, keyword: str, place: str) -> list[Dataset]:
    from pydicom import Dataset

    try:
        items = list(data.get(keyword) or [])
    except Exception as error:  # what a damaged sequence leads its reader to has no bound
        raise DicomError.at(place, f"{keyword} that can be read", type(error).__name__) from error
    if not all(isinstance(item, Dataset) for item in items):
        raise DicomError.at(place, f"{keyword} as a sequence", "another kind of value")
    return items


def _first(data: Dataset, keyword: str, place: str) -> Dataset:
    items = _items(data, keyword, place)
    if not items:
        raise DicomError.at(place, f"{keyword} with an item", "none")
    return items[0]
