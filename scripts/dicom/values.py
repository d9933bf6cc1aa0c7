"""Values of a header, checked: what is missing or of another kind is an error that names the attribute.

Values are taken from the bytes that `pydicom` keeps of an element: its own conversion, which also checks every value,
takes longer than reading the pixels of an image.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

from .errors import DicomError

if TYPE_CHECKING:
    from pydicom import Dataset

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}


@cache
def tag_of(keyword: str) -> Any:
    """The tag of an attribute."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    return Tag(tag_for_keyword(keyword) or keyword)


@cache
def _vr_of(keyword: str) -> str:
    """The kind of value that the standard has for an attribute; unsigned where it has two."""
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(tag_of(keyword))[:2]


def text(data: Dataset, keyword: str) -> str:
    r"""A value as text, several values joined by `\`; empty where it is absent."""
    element: Any = data.get_item(tag_of(keyword)) if tag_of(keyword) in data else None
    if element is None or not element.value:
        return ""
    if isinstance(element.value, bytes):
        return element.value.decode("latin-1").strip(" \0")
    return str(element.value).strip()


def numbers(data: Dataset, keyword: str, count: int, place: str) -> tuple[float, ...]:
    """Finite numbers.

    Raises:
        DicomError: there are not so many of them.
    """
    expected = f"{keyword} with {'a number' if count == 1 else f'{count} numbers'}"
    try:
        found = _numbers(data, keyword)
    except (ValueError, TypeError, struct.error) as error:
        raise DicomError.at(place, expected, "another kind of value") from error
    if len(found) != count or not all(map(math.isfinite, found)):
        got = "none" if not found else f"{len(found)}" if len(found) != count else "one that is not finite"
        raise DicomError.at(place, expected, got)
    return found


def number(data: Dataset, keyword: str, place: str) -> float:
    """A finite number; errors are those of `numbers`."""
    return numbers(data, keyword, 1, place)[0]


def whole(data: Dataset, keyword: str, low: int, high: int, place: str) -> int:
    """A whole number from `low` to `high`.

    Raises:
        DicomError: it is another, or absent.
    """
    value = number(data, keyword, place)
    if value != int(value) or not low <= value <= high:
        raise DicomError.at(place, f"{keyword} from {low} to {high}", f"{value:g}")
    return int(value)


def optional_number(data: Dataset, keyword: str) -> float | None:
    """A finite number; None where it is absent, NaN where it cannot be read."""
    try:
        found = _numbers(data, keyword)
    except (ValueError, TypeError, struct.error):
        return math.nan
    if not found:
        return None
    return found[0] if len(found) == 1 and math.isfinite(found[0]) else math.nan


def _numbers(data: Dataset, keyword: str) -> tuple[float, ...]:
    """The numbers of an element; none where it is absent or empty.

    Raises:
        ValueError, TypeError, struct.error: it holds something else.
    """
    element: Any = data.get_item(tag_of(keyword)) if tag_of(keyword) in data else None
    if element is None or element.value is None:
        return ()
    value = element.value
    if not isinstance(value, bytes):  # an element that pydicom has converted
        return tuple(map(float, [value] if isinstance(value, (int, float, str)) else value))
    code = _BINARY.get(element.VR or _vr_of(keyword))
    if code is not None:
        order = "<" if element.is_little_endian else ">"
        return tuple(float(item) for (item,) in struct.iter_unpack(order + code, value))
    words = value.decode("ascii").strip(" \0")
    return tuple(map(float, words.split("\\"))) if words else ()
