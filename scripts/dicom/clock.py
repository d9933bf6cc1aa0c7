"""Dates and times of DICOM as seconds (PS3.5, section 6.2: DA, TM, DT)."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import TYPE_CHECKING

from .values import text

if TYPE_CHECKING:
    from pydicom import Dataset

DAY_S = 86400.0
_TM = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d{1,6})?)?)?")
_DA = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_DT = re.compile(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)([+-]\d{4})?")


def time_s(value: str) -> float:
    """Seconds after midnight; NaN where the text is no time (TM).

    Example:
        >>> time_s("101501.25")
        36901.25
    """
    match = _TM.fullmatch(value)
    if match is None:
        return math.nan
    hours, minutes, seconds = (int(group or 0) for group in match.groups()[:3])
    if hours > 23 or minutes > 59 or seconds > 60:  # 60: a leap second
        return math.nan
    return hours * 3600 + minutes * 60 + seconds + float(match[4] or 0)


def date_s(value: str) -> float:
    """Seconds from the first day of the calendar to the midnight before; NaN where the text is no date (DA)."""
    match = _DA.fullmatch(value)
    try:
        return math.nan if match is None else date(*map(int, match.groups())).toordinal() * DAY_S
    except ValueError:
        return math.nan


def datetime_s(value: str) -> float:
    """Seconds since the first day of the calendar, UTC where the text has an offset; NaN if it is none (DT).

    A date without a time of day is none either.
    """
    match = _DT.fullmatch(value)
    if match is None:
        return math.nan
    offset = match[3] or "+0000"
    shift_s = (int(offset[1:3]) * 3600 + int(offset[3:]) * 60) * (-1 if offset[0] == "-" else 1)
    return date_s(match[1]) + time_s(match[2]) - shift_s


def attribute_s(data: Dataset, keyword: str) -> float | None:
    """A DT attribute in seconds; None where it is absent."""
    value = text(data, keyword)
    return datetime_s(value) if value else None


def date_and_time_s(data: Dataset, prefix: str) -> float | None:
    """A pair such as AcquisitionDate and AcquisitionTime in seconds; None without a time, of one day without a date."""
    value = text(data, f"{prefix}Time")
    if not value:
        return None
    day_s = date_s(text(data, f"{prefix}Date"))
    return time_s(value) + (0.0 if math.isnan(day_s) else day_s)
