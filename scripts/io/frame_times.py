"""When the frames of a series were taken: as the user, the datalist, a sidecar or the header states it.

The first of these that states anything is used. An interval in a header is often the mean of uneven times (`dcm2niix`
writes it for protocols with a late phase), so it comes last, and a difference from what is used is warned of.

By how much slices are earlier or later than their frame comes from a sidecar, see `scripts.io.slice_times`, and is
added to the frame times, whoever states those.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from .errors import CaseError
from .gate import FRAME_INTERVAL, Check, QualityWarning
from .nifti import frame_interval_s
from .paths import is_file
from .slice_times import SLICE_TIMES_KEY, check_means, frame_means, slice_offsets, slice_times

TIMES_KEY = "times"
INTERVAL_KEY = "dt_s"
SIDECAR_KEYS = ("FrameTimesStart", "VolumeTiming")
"""What BIDS sidecars call the times of the frames, in s: of PET (`dcm2niix` writes it for CT, too) and of fMRI."""

Stated = float | Sequence[float] | str | os.PathLike[str]
"""The time between frames in s, the time of every frame in s, or the path of a file with these."""

_MOST_BYTES = 16 << 20  # a sidecar has kilobytes
_SHORTEST_STEP_S = 1e-3
_EVEN_S = 1e-3  # times that are even to a millisecond are an interval
_MANY_FRAMES = 45
_LONG_S = 120.0
_ROUND_S = 0.05

TIMES_CONFLICT = Check(
    "times_conflict",
    "largest difference of the frame times that are used from those of another source (option, case, sidecar, "
    "header), over the usual time between frames",
    "intervals",
    "a choice: half a frame; a header with the mean of uneven times differs by more",
    warn=(0, 0.5),
)
MEAN_INTERVAL = Check(
    "mean_interval",
    "where the header alone states an interval, of more than 45 frames or 120 s: how far it is from a multiple of "
    "0.05 s",
    "s",
    "protocols have round intervals; the mean of a fast and a slow phase is seldom round. A choice",
    warn=(0, 1e-3),
)
TIME_CHECKS = (TIMES_CONFLICT, MEAN_INTERVAL)


class FrameTimes(NamedTuple):
    """The times of the frames of a series, and who states them."""

    source: str
    """``option``, ``case`` (of a datalist or a request), ``sidecar`` or ``header``."""
    dt_s: float
    """The usual (median) time between frames, s."""
    times_s: tuple[float, ...] | None = None
    """Time of every frame after the first one, s; None where frames are ``dt_s`` apart."""
    slice_offsets_s: tuple[tuple[float, ...], ...] | None = None
    """How much later than the frame each slice was taken, s: for each place along the third voxel axis of the file one
    number, or one per frame. The mean over the slices is 0. None where all slices were taken at once."""

    @property
    def value(self) -> float | list[float]:
        """The time between frames, or the time of every frame, s."""
        return self.dt_s if self.times_s is None else list(self.times_s)

    def as_json(self) -> dict[str, Any]:
        """What results record, s: source, usual interval, uneven times, and what slices differ by, as in the file."""
        record: dict[str, Any] = {"source": self.source, "dt_s": round(self.dt_s, 6)}
        if self.times_s is not None:
            record["times_s"] = list(self.times_s)
        if self.slice_offsets_s is not None:
            record["slice_offsets_s"] = [row[0] if len(row) == 1 else list(row) for row in self.slice_offsets_s]
        return record

    def slice_times_s(self, n_frames: int) -> NDArray[np.float64] | None:
        """Times (D, T) of the slices of every frame, s after the first frame; None where all slices share them."""
        if self.slice_offsets_s is None:
            return None
        return slice_times(_after_first(self, n_frames), np.array(self.slice_offsets_s))


def find_frame_times(
    case: Mapping[str, Any],
    header: nib.Nifti1Header,
    n_frames: int,
    *,
    name: str,
    option: Stated | None = None,
    n_slices: int | None = None,
) -> tuple[FrameTimes | None, list[QualityWarning]]:
    """Find the frame times of a case: those of the option, or else of the case, of its sidecar, of its header.

    Args:
        case: `image`, the path of the series, and optionally `times` or `dt_s`, as a datalist has them.
        header: the header of the series.
        n_frames: how many frames it has.
        name: name of the case, for the messages.
        option: what the user states for every case; None for nothing.
        n_slices: how many places the third voxel axis has; None leaves times of slices out.

    Returns:
        The times, None where nothing states them, and what is warned of by `TIME_CHECKS`.

    Raises:
        CaseError: what comes first is not one finite, rising time per frame, in s, or the times of slices are not.
        FileNotFoundError: the file that it names is not there.
    """
    found: list[FrameTimes] = []
    first: Stated | None = None
    for source, key, stated in _sources(case, header, option):
        first = stated if first is None else first
        try:
            found.append(_frame_times(source, key, stated, n_frames, name, case["image"]))
        except (CaseError, FileNotFoundError):
            if not found:
                raise
    if not found:
        return None, []
    used, *others = found
    warnings = [*_conflicts(used, others, n_frames), *_perhaps_a_mean(used, n_frames)]
    if n_slices is None:
        return used, warnings
    files = [first] if isinstance(first, (str, os.PathLike)) else []
    return _with_slices(used, [*files, sidecar_path(case["image"])], n_slices, n_frames, name), warnings


def check_stated_times(case: Mapping[str, Any], n_frames: int, *, name: str) -> None:
    """Check the `times` or `dt_s` of a case; errors are those of `find_frame_times`."""
    if (stated := _of_case(case, name)) is not None:
        _frame_times("case", *stated, n_frames, name, case["image"])


def sidecar_path(series: str | os.PathLike[str]) -> Path:
    """Where `dcm2niix` writes the sidecar of a series: ``x.json`` next to ``x.nii.gz``."""
    path = Path(series)
    return path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) + ".json")


def read_times(path: str | os.PathLike[str]) -> list[float]:
    """Read the frame times in s from a file.

    Args:
        path: a text file with one time per line (commas and white space separate, too), a JSON list, or a BIDS sidecar
            with one of `SIDECAR_KEYS`, or with the times of the slices, whose means are taken.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it has no times.
    """
    content = _content(Path(path))
    if isinstance(content, dict):
        keys = [key for key in SIDECAR_KEYS if content.get(key) is not None]
        if not keys:
            if content.get(SLICE_TIMES_KEY) is not None:
                return frame_means(content)
            raise ValueError(f"a sidecar without {' and '.join(SIDECAR_KEYS)}")
        numbers = _numbers(content[keys[0]])
        check_means(content, np.array(numbers))
        return numbers
    return _numbers(content)


def _sources(
    case: Mapping[str, Any], header: nib.Nifti1Header, option: Stated | None
) -> Iterator[tuple[str, str, Stated]]:
    """Who states frame times, under which key, and what; the first is the one to use."""
    if option is not None:
        yield "option", INTERVAL_KEY if isinstance(option, Real) else TIMES_KEY, option
    if (stated := _of_case(case, str(case.get("case", "?")))) is not None:
        yield "case", *stated
    sidecar = sidecar_path(case["image"])
    if is_file(sidecar) and _is_timed(sidecar):
        yield "sidecar", TIMES_KEY, sidecar
    dt_s = frame_interval_s(header)
    if dt_s is not None and FRAME_INTERVAL.judge(dt_s, fatal_only=True) is None:
        yield "header", INTERVAL_KEY, dt_s


def _of_case(case: Mapping[str, Any], name: str) -> tuple[str, Stated] | None:
    stated = [(key, case[key]) for key in (TIMES_KEY, INTERVAL_KEY) if case.get(key) is not None]
    if len(stated) > 1:
        raise CaseError.of(name, TIMES_KEY, None, f"one of {TIMES_KEY} and {INTERVAL_KEY}", "both")
    return stated[0] if stated else None


def _is_timed(sidecar: Path) -> bool:
    """Whether a JSON file next to a series is one that states frame times; one that cannot be read may be."""
    try:
        content = _content(sidecar)
    except (ValueError, OSError):
        return True
    return isinstance(content, dict) and any(content.get(key) is not None for key in (*SIDECAR_KEYS, SLICE_TIMES_KEY))


def _with_slices(
    used: FrameTimes, files: Sequence[str | os.PathLike[str]], n_slices: int, n_frames: int, name: str
) -> FrameTimes:
    """Frame times with what the first of these files that tells of slices states about them."""
    for file in files:
        try:
            content = _content(Path(file)) if is_file(file) else None
        except (ValueError, OSError):  # the frame times come from elsewhere
            continue
        try:
            times_s = _after_first(used, n_frames)
            offsets = slice_offsets(content, times_s, n_slices) if isinstance(content, dict) else None
        except ValueError as error:
            expected = f"the times of {n_slices} slices in {n_frames} frames in s"
            raise CaseError.of(name, TIMES_KEY, file, expected, f"{error}; correct or remove that file") from error
        if offsets is not None:
            return used._replace(slice_offsets_s=tuple(tuple(row) for row in offsets.round(6).tolist()))
    return used


def _frame_times(
    source: str, key: str, stated: Stated, n_frames: int, name: str, series: str | os.PathLike[str]
) -> FrameTimes:
    """What a source states, checked."""
    file = stated if isinstance(stated, (str, os.PathLike)) else None
    if file is not None and not is_file(file):
        raise FileNotFoundError(f"case '{name}', {key} '{file}': expected a file with frame times, got none")
    try:
        if isinstance(stated, Real) and not isinstance(stated, bool):
            return FrameTimes(source, _interval(float(stated)))
        times = _checked(_numbers(stated) if file is None else read_times(file), n_frames)
    except (ValueError, OSError) as error:
        expected = f"the times of {n_frames} frames in s" if key == TIMES_KEY else "a time between frames in s"
        advice = "; give times, or remove that file" if source == "sidecar" else ""
        place = f"{key} of '{os.fspath(series)}'" if file is None else key
        raise CaseError.of(name, place, file, expected, f"{error}{advice}") from error
    steps = np.diff(times)
    even_s = round(float(times[-1]) / len(steps), 6)
    if float(np.abs(times - even_s * np.arange(len(times))).max()) < _EVEN_S:
        return FrameTimes(source, even_s)
    return FrameTimes(source, float(np.median(steps)), tuple(round(time_s, 6) for time_s in times.tolist()))


def _checked(numbers: Sequence[float], n_frames: int) -> NDArray[np.float64]:
    """Times of frames after the first, in s.

    Raises:
        ValueError: they are not one finite, rising time per frame, or their unit is another.
    """
    times = np.asarray(numbers, dtype=np.float64)
    if len(times) != n_frames:
        raise ValueError(f"{len(times)}")
    if len(bad := np.flatnonzero(~np.isfinite(times))):
        raise ValueError(f"{times[bad[0]]} for frame {bad[0]}")
    if len(bad := np.flatnonzero(np.diff(times) <= _SHORTEST_STEP_S)):
        raise ValueError(f"{times[bad[0] + 1]:g} s after {times[bad[0]]:g} s (frame {bad[0] + 1}), which does not rise")
    _interval(float(np.median(np.diff(times))))
    return times - times[0]


def _interval(dt_s: float) -> float:
    """A time between frames that a scan can have.

    Raises:
        ValueError: no scan has it.
    """
    if FRAME_INTERVAL.judge(dt_s, fatal_only=True) is None:
        return dt_s
    shortest_s, longest_s = FRAME_INTERVAL.refuse
    reason = f"frames {dt_s:g} s apart, where {shortest_s:g} to {longest_s:g} s are possible"
    if shortest_s <= dt_s / 1000 <= longest_s:
        reason += ": are these milliseconds?"
    raise ValueError(reason)


def _numbers(content: Any) -> list[float]:
    if not isinstance(content, (list, tuple, np.ndarray)):
        raise ValueError(f"{content!r:.60}")
    wrong = [item for item in content if not isinstance(item, Real) or isinstance(item, bool)]
    if wrong:
        raise ValueError(f"{wrong[0]!r:.60} among them")
    return [float(item) for item in content]


def _content(path: Path) -> Any:
    """What a file of times holds: the content of JSON, or the list of numbers of a text.

    Raises:
        ValueError: it is neither.
    """
    with path.open("rb") as stream:
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"a file of more than {_MOST_BYTES} bytes")
    text = data.decode("utf-8-sig", errors="replace").strip()
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"JSON that cannot be read ({error})") from error
    words = text.replace(",", " ").split()
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"a text that is no list of numbers ({error})"[:200]) from error


def _conflicts(used: FrameTimes, others: Sequence[FrameTimes], n_frames: int) -> list[QualityWarning]:
    """A warning for every source that states other times than those that are used."""
    mine = _after_first(used, n_frames)
    found = []
    for other in others:
        apart_s = float(np.abs(_after_first(other, n_frames) - mine).max())
        unit = f"intervals, {apart_s:.4g} s, between frame times of the {used.source} (used) and of the {other.source}"
        found.append(TIMES_CONFLICT._replace(unit=unit).judge(apart_s / used.dt_s))
    return [finding for finding in found if finding is not None]


def _after_first(times: FrameTimes, n_frames: int) -> NDArray[np.float64]:
    return np.arange(n_frames, dtype=np.float64) * times.dt_s if times.times_s is None else np.array(times.times_s)


def _perhaps_a_mean(used: FrameTimes, n_frames: int) -> list[QualityWarning]:
    """A warning where the header alone tells an interval that may be the mean of uneven ones."""
    if used.source != "header" or (n_frames <= _MANY_FRAMES and used.dt_s * (n_frames - 1) <= _LONG_S):
        return []
    unit = (
        f"s from a multiple of {_ROUND_S:g} s: the header's {used.dt_s:.5g} s between {n_frames} frames may be a mean "
        "of uneven times; give times"
    )
    finding = MEAN_INTERVAL._replace(unit=unit).judge(abs(math.remainder(used.dt_s, _ROUND_S)))
    return [] if finding is None else [finding]
