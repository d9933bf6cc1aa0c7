"""How the pixels of an object are stored, by its header."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .errors import DicomError
from .sample import PixelFormat
from .values import optional_number, text, whole

if TYPE_CHECKING:
    from pydicom import Dataset

_MOST_PIXELS = 4096


def pixel_format(data: Dataset, offset: int, place: str) -> PixelFormat:
    """How the pixels of an object are stored, checked.

    Args:
        data: its header.
        offset: where the element of the pixels begins in the file, bytes.
        place: the file and the instance, for messages.

    Raises:
        DicomError: an attribute is missing, or is not what CT has.
    """
    allocated = whole(data, "BitsAllocated", 1, 64, place)
    if allocated != 16:
        raise DicomError.at(place, "BitsAllocated of 16", allocated)
    stored = whole(data, "BitsStored", 1, allocated, place)
    high = optional_number(data, "HighBit")
    return PixelFormat(
        whole(data, "Rows", 1, _MOST_PIXELS, place),
        whole(data, "Columns", 1, _MOST_PIXELS, place),
        allocated,
        stored,
        stored - 1 if high is None else whole(data, "HighBit", stored - 1, allocated - 1, place),
        bool(whole(data, "PixelRepresentation", 0, 1, place)),
        _padding(data, allocated),
        text(getattr(data, "file_meta", data), "TransferSyntaxUID") or _without_meta(data),
        offset,
        int(whole(data, "NumberOfFrames", 1, 1 << 20, place)) if text(data, "NumberOfFrames") else 1,
    )


def _without_meta(data: Dataset) -> str:
    """The transfer syntax of a file without meta information, as `pydicom` found it."""
    return "1.2.840.10008.1.2" if data.original_encoding[0] else "1.2.840.10008.1.2.1"


def _padding(data: Dataset, bits: int) -> tuple[int, int] | None:
    """The stored values that are no measurements, without a sign; writers do not agree on the sign (US or SS)."""
    ends = [_unsigned(data, keyword, bits) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    other = ends[0] if ends[1] is None else ends[1]
    return min(ends[0], other), max(ends[0], other)


def _unsigned(data: Dataset, keyword: str, bits: int) -> int | None:
    value = optional_number(data, keyword)
    return None if value is None or math.isnan(value) else int(value) % (1 << bits)
