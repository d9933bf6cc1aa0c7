"""Values of a header, checked: what is missing or of another kind is an error that names the attribute."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .errors import DicomError

if TYPE_CHECKING:
    from pydicom import Dataset


def text(data: Dataset, keyword: str, place: str = "") -> str:
    """A value as text; empty where it is absent, or cannot be read and no place is given.

    Raises:
        DicomError: it cannot be read.
    """
    try:
        value = data.get(keyword)
    except Exception as error:  # what a damaged value leads its reader to has no bound
        if place:
            raise DicomError.at(place, f"{keyword} that can be read", type(error).__name__) from error
        return ""
    return "" if value is None else str(value).strip(" \0")


def numbers(data: Dataset, keyword: str, count: int, place: str) -> tuple[float, ...]:
    """Finite numbers.

    Raises:
        DicomError: there are not so many of them.
    """
    try:
        value: Any = data.get(keyword)
        values = [] if value is None else [value] if isinstance(value, (int, float, str)) else list(value)
        found = tuple(float(item) for item in values)
    except Exception as error:  # as above
        raise DicomError.at(place, f"{keyword} with {_count(count)}", type(error).__name__) from error
    if len(found) != count or not all(map(math.isfinite, found)):
        got = "none" if not found else f"{len(found)}" if len(found) != count else "one that is not finite"
        raise DicomError.at(place, f"{keyword} with {_count(count)}", got)
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
        value = data.get(keyword)
        if value is None or value == "" or value == []:
            return None
        found = float(value)
    except Exception:  # as above
        return math.nan
    return found if math.isfinite(found) else math.nan


def _count(count: int) -> str:
    return "a number" if count == 1 else f"{count} numbers"
