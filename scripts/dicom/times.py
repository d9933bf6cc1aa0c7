"""When each image was taken, by what the scanners of each vendor write. Times are never guessed.

A source holds where every image has it and images of one slice differ in it. The first that holds is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..io.gate import FRAME_INTERVAL
from .clock import DAY_S
from .errors import DicomError
from .sample import Sample

_SAME_S = 1e-3
_FEW = 0.25  # up to this fraction of repeated times is a doubled image; more is an attribute of the whole series

Reader = Callable[[Sequence[Sample]], NDArray[np.float64]]


class Source(NamedTuple):
    """Where the times of images come from."""

    name: str
    read: Reader
    """Gives a time for each image, s; NaN where it has none."""


def frame_acquisition(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Enhanced CT: start of the acquisition of a frame (PS3.3, Frame Content Macro, C.7.6.16.2.2)."""
    return _values(samples, "FrameAcquisitionDateTime")


def frame_reference(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Enhanced CT: the point in time that represents a frame (PS3.3, C.7.6.16.2.2)."""
    return _values(samples, "FrameReferenceDateTime")


def acquisition_date_time(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Siemens, Canon, newer Philips: start of the acquisition that the image is of (PS3.3, C.7.6.1)."""
    return _values(samples, "AcquisitionDateTime")


def acquisition_time(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Siemens, Philips, Canon: the same as date and time of day (PS3.3, C.7.6.1).

    Where the date is missing, or is that of the first image for all, times after midnight belong to the next day.
    """
    return _next_day(_values(samples, "AcquisitionTime"))


def content_time(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """GE cine: Acquisition Time is that of the whole cine run, Content Time that of the image.

    Others write there when an image was reconstructed (PS3.3, C.7.6.1: "image pixel data creation started"), which is
    not when it was taken.
    """
    times_s = _values(samples, "ContentTime")
    if not all(sample.manufacturer.upper().startswith("GE ") for sample in samples):
        return np.full_like(times_s, math.nan)
    return _next_day(times_s)


def trigger_time(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Time after the trigger, ms (PS3.3, C.8.2.1, Trigger Time)."""
    return _values(samples, "TriggerTime") / 1000


def frame_reference_time(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Time after the start of the series, ms (PS3.3, C.8.9.4, Frame Reference Time)."""
    return _values(samples, "FrameReferenceTime") / 1000


def temporal_offset(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Enhanced CT: time after the first position in time, s (PS3.3, Temporal Position Macro, C.7.6.16.2.24)."""
    return _values(samples, "TemporalPositionTimeOffset")


def temporal_position(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Philips: number of the position in time, and the time between positions, ms (PS3.3, C.7.6.1 and C.8.2.1)."""
    return _values(samples, "TemporalPositionIdentifier") * _values(samples, "TemporalResolution") / 1000


SOURCES = (
    Source("FrameAcquisitionDateTime", frame_acquisition),
    Source("FrameReferenceDateTime", frame_reference),
    Source("AcquisitionDateTime", acquisition_date_time),
    Source("AcquisitionTime", acquisition_time),
    Source("ContentTime", content_time),
    Source("TriggerTime", trigger_time),
    Source("FrameReferenceTime", frame_reference_time),
    Source("TemporalPositionTimeOffset", temporal_offset),
    Source("TemporalPositionIdentifier and TemporalResolution", temporal_position),
)


def image_times(
    samples: Sequence[Sample], slice_of: NDArray[np.intp], dt_s: float | None
) -> tuple[NDArray[np.float64], str]:
    """When each image was taken.

    Args:
        samples: the images of a series.
        slice_of: (samples,) index of the slice of each.
        dt_s: the time between frames, for series whose headers state no times.

    Returns:
        (samples,) s, from an arbitrary start; and the source.

    Raises:
        DicomError: an image is there twice, or no source holds and `dt_s` is not given.
    """
    reasons, doubled = [], None
    for source in SOURCES:
        times_s = source.read(samples)
        if np.isnan(times_s).all():
            continue
        problem, pair = _problem(times_s, slice_of)
        if not problem:
            return times_s, source.name
        reasons.append(f"{source.name} {problem}")
        doubled = doubled or (pair and (source.name, *pair))
    if doubled:
        name, first, second = doubled
        raise DicomError.at(
            samples[second].place, "one image of a slice at a time", f"the {name} of {samples[first].place}"
        )
    if dt_s is not None:
        return _ranks(samples, slice_of) * dt_s, "--dt-s"
    tried = "; ".join(reasons) or "no attribute of times"
    raise DicomError(
        f"{samples[0].place}: expected the times of the images, got {tried}; "
        "give --dt-s, the time between frames in s, if it is known"
    )


def _problem(times_s: NDArray[np.float64], slice_of: NDArray[np.intp]) -> tuple[str, tuple[int, int] | None]:
    """Why a source does not hold, empty if it does; and two images of one slice and time where these are few."""
    if np.isnan(times_s).any():
        return f"is missing or cannot be read in {int(np.isnan(times_s).sum())} of {len(times_s)} images", None
    order = np.lexsort((times_s, slice_of))
    steps_s, same_slice = np.diff(times_s[order]), np.diff(slice_of[order]) == 0
    repeated = np.flatnonzero((steps_s < _SAME_S) & same_slice)
    if len(repeated):
        first, second = sorted((int(order[repeated[0]]), int(order[repeated[0] + 1])))
        pair = (first, second) if len(repeated) <= _FEW * len(times_s) else None
        return "is the same for several images of a slice", pair
    usual_s = float(np.median(steps_s[same_slice])) if same_slice.any() else math.nan
    if FRAME_INTERVAL.judge(usual_s, fatal_only=True) is not None:
        return f"gives frames {usual_s:.4g} s apart", None
    return "", None


def _ranks(samples: Sequence[Sample], slice_of: NDArray[np.intp]) -> NDArray[np.float64]:
    """The number of each image among those of its slice: of its position in time, else in the order of the numbers."""
    positions = _values(samples, "TemporalPositionIdentifier")
    order = list(zip(slice_of.tolist(), positions.tolist(), strict=True))
    if not np.isnan(positions).any() and len(set(order)) == len(order):
        return positions - positions.min()
    ranks = np.empty(len(samples))
    for index in np.unique(slice_of):
        mine = sorted(np.flatnonzero(slice_of == index).tolist(), key=lambda i: (samples[i].order, samples[i].frame))
        ranks[mine] = np.arange(len(mine))
    return ranks


def _values(samples: Sequence[Sample], name: str) -> NDArray[np.float64]:
    return np.array([sample.clock.get(name, math.nan) for sample in samples], dtype=np.float64)


def _next_day(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move what is more than half a day before the last image to the next day: no examination takes as long."""
    if np.isnan(times_s).any() or np.ptp(times_s) <= DAY_S / 2:
        return times_s
    return np.where(times_s < times_s.max() - DAY_S / 2, times_s + DAY_S, times_s)
