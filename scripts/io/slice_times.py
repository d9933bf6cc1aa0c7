"""When the slices of a frame were taken, where they were not taken at once: as a sidecar states it.

A scanner whose table moves (shuttle, jog) or whose positions alternate takes each slice at times of its own. A sidecar
states them as `SliceTimesStart`, or, where every frame is alike, as `SliceTiming` of BIDS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLICE_TIMES_KEY = "SliceTimesStart"
"""D lists of T times in s, in the order of the third voxel axis of the file."""
SLICE_OFFSETS_KEY = "SliceTiming"
"""BIDS: D times in s within each frame, along the third voxel axis, or against it by `DIRECTION_KEY`."""
DIRECTION_KEY = "SliceEncodingDirection"

_SHORTEST_STEP_S = 1e-3
_SAME_S = 1e-3  # what is less apart is at once
_LARGEST_DIFFERENCE = 0.5  # of the usual interval, between frame times and the means of the slices' in one file


def slice_offsets(
    sidecar: Mapping[str, Any], frame_times_s: NDArray[np.float64], n_slices: int
) -> NDArray[np.float64] | None:
    """By how much slices are later than the mean of their frame, as a sidecar states it.

    Args:
        sidecar: its content.
        frame_times_s: (T,) times of the frames that are used, s.
        n_slices: D, places along the third voxel axis.

    Returns:
        (D, 1) or, where frames differ, (D, T), s; None where the sidecar has no times of slices, or all are alike.

    Raises:
        ValueError: they are not one finite, rising time per slice and frame, in s.
    """
    if sidecar.get(SLICE_TIMES_KEY) is not None:
        times = _table(sidecar[SLICE_TIMES_KEY], n_slices, len(frame_times_s))
        offsets = times - times.mean(axis=0)
    elif sidecar.get(SLICE_OFFSETS_KEY) is not None:
        offsets = _of_each_frame(sidecar, frame_times_s, n_slices)
    else:
        return None
    if np.ptp(offsets, axis=0).max() < _SAME_S:
        return None
    if np.ptp(offsets, axis=1).max() < _SAME_S:
        offsets = offsets.mean(axis=1, keepdims=True)
    slice_times(frame_times_s, offsets)
    return offsets


def slice_times(frame_times_s: NDArray[np.float64], offsets_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times (D, T) of slices in s, from those of the frames (T,) and offsets (D, 1) or (D, T).

    Raises:
        ValueError: those of a slice do not rise.
    """
    times = frame_times_s + offsets_s
    _check_rising(times)
    return times


def frame_means(sidecar: Mapping[str, Any]) -> list[float]:
    """The times of the frames (T,) in s: the means of those of the slices.

    Raises:
        ValueError: `SLICE_TIMES_KEY` has no lists of one length.
    """
    rows = sidecar[SLICE_TIMES_KEY]
    first = rows[0] if isinstance(rows, list) and rows else None
    if not isinstance(first, list):
        raise ValueError(f"{SLICE_TIMES_KEY} that is no list of lists")
    return _table(rows, len(rows), len(first)).mean(axis=0).tolist()


def check_means(sidecar: Mapping[str, Any], times_s: NDArray[np.float64]) -> None:
    """Raise ValueError where the times of frames (T,) in a sidecar are not the means of those of its slices."""
    if sidecar.get(SLICE_TIMES_KEY) is None:
        return
    means = np.array(frame_means(sidecar))
    if means.shape != times_s.shape:
        raise ValueError(f"{SLICE_TIMES_KEY} of {len(means)} frames next to times of {len(times_s)}")
    apart_s = np.abs((means - means[0]) - (times_s - times_s[0])).max()
    if apart_s > _LARGEST_DIFFERENCE * np.median(np.diff(times_s)):
        raise ValueError(f"{SLICE_TIMES_KEY} whose means are up to {apart_s:.4g} s from the frame times in that file")


def _table(rows: Any, n_slices: int, n_frames: int) -> NDArray[np.float64]:
    """Times (D, T) of slices."""
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError(f"{SLICE_TIMES_KEY} that is no list of lists")
    if len(rows) != n_slices:
        raise ValueError(f"{SLICE_TIMES_KEY} of {len(rows)} slices")
    for index, row in enumerate(rows):
        if len(row) != n_frames:
            raise ValueError(f"{SLICE_TIMES_KEY} with {len(row)} times for slice {index}")
    times = np.stack([_numbers(row, f"{SLICE_TIMES_KEY} of slice {index}") for index, row in enumerate(rows)])
    _check_rising(times)
    return times


def _of_each_frame(
    sidecar: Mapping[str, Any], frame_times_s: NDArray[np.float64], n_slices: int
) -> NDArray[np.float64]:
    """Offsets (D, 1) of slices that every frame has."""
    offsets = _numbers(sidecar[SLICE_OFFSETS_KEY], SLICE_OFFSETS_KEY)
    if len(offsets) != n_slices:
        raise ValueError(f"{SLICE_OFFSETS_KEY} of {len(offsets)} slices")
    spread_s, longest_s = float(np.ptp(offsets)), float(np.diff(frame_times_s).max())
    if spread_s > longest_s:
        reason = f"{SLICE_OFFSETS_KEY} that spans {spread_s:g} s, more than a frame of {longest_s:.4g} s"
        raise ValueError(reason + (": are these milliseconds?" if spread_s / 1000 <= longest_s else ""))
    direction = sidecar.get(DIRECTION_KEY, "k")
    if direction not in ("k", "k-"):
        raise ValueError(f"{DIRECTION_KEY} {direction!r:.40}, where k or k- (the third voxel axis) is possible")
    ordered = offsets[::-1] if direction == "k-" else offsets
    return (ordered - ordered.mean())[:, None]


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    if not isinstance(values, list):
        raise ValueError(f"{name} that is no list")
    for index, value in enumerate(values):
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{name} with {value!r:.40} at {index}")
    return np.array(values, dtype=np.float64)


def _check_rising(times: NDArray[np.float64]) -> None:
    wrong = np.argwhere(np.diff(times, axis=1) <= _SHORTEST_STEP_S)
    if len(wrong):
        index, frame = wrong[0]
        before_s, after_s = times[index, frame : frame + 2]
        raise ValueError(f"{after_s:g} s after {before_s:g} s (slice {index}, frame {frame + 1}), which does not rise")
