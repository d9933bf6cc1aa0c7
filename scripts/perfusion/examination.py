"""An examination before anything is estimated: its frames at rest, the brain, and when contrast arrives."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .brain import away_from_bone, brain_mask, check_series
from .enhancement import Times, arrival_frame, frame_times
from .frame_motion import LARGEST_IN_PLANE_MM, FrameMotion, frame_motion, kept_frames
from .masked_grid import MaskedGrid, Spacing
from .motion import correct_motion, displacement_mm
from .residual_motion import remove_residual_motion

_STILL_MM = 0.4  # half of a pixel; small arteries lose a tenth of their height where they move by so much
_MOTION_SMOOTHING_MM = 2.0
_MOST_FRAMES = 8  # times those of the series, for even ones: a second phase may be that much slower (a choice)


class Examination(NamedTuple):
    """A series whose frames show the head in one place, and what is told from it at once; tensors on its device."""

    series: Tensor
    """(T, H, W, D) in HU: the frames that are kept."""
    times_s: Tensor
    """(T,) their times after the first frame of the series, s."""
    series_times_s: Tensor
    """(T',) the times of all frames of the series, s."""
    spacing_mm: Spacing
    brain: Tensor
    """Boolean (H, W, D)."""
    steady: Tensor
    """Boolean (H, W, D): 3 mm from bone at least, where movement does not look like contrast."""
    n_baseline: int
    """Frames before contrast arrives."""
    motion: FrameMotion
    """How far the head moved in every frame of the series, the lost ones included."""


def examine(
    series: Tensor, times_s: Times, spacing_mm: Spacing, *, brain: Tensor | None = None, motion_correction: bool = True
) -> Examination:
    """Leave out the frames that movement spoiled, align the others where the head moved, and find the brain.

    A frame that is left out stays out of every fit: it is not replaced by one between its neighbors.

    Args:
        series: (T, H, W, D) in HU.
        times_s: time of every frame in s, or the time between frames.
        spacing_mm: voxel size along H, W and D.
        brain: boolean (H, W, D); found by itself if None.
        motion_correction: align the frames where curves show movements of more than 0.4 mm, see `correct_motion`.

    Raises:
        ValueError: an argument does not fit, too few frames are left, or the series shows no brain.
    """
    check_series(series, spacing_mm)
    times = all_times = frame_times(times_s, len(series), series.device)
    if brain is not None and tuple(brain.shape) != tuple(series.shape[1:]):
        raise ValueError(f"brain must have shape {tuple(series.shape[1:])}, got {tuple(brain.shape)}")
    motion = frame_motion(series, spacing_mm, math.inf if motion_correction else LARGEST_IN_PLANE_MM)
    kept = kept_frames(motion.lost)
    if len(kept) < len(series):
        series, times = series[kept], times[kept]
    found = _found(series, times, all_times, spacing_mm, motion, brain)
    if motion_correction and _largest_movement_mm(found) > _STILL_MM:
        corrected, _ = correct_motion(series, spacing_mm)
        if corrected is not series:
            found = _found(corrected, times, all_times, spacing_mm, motion, brain)
    return found


def _found(
    series: Tensor, times: Tensor, all_times: Tensor, spacing_mm: Spacing, motion: FrameMotion, brain: Tensor | None
) -> Examination:
    brain = brain_mask(series, spacing_mm) if brain is None else (brain != 0).to(series.device)
    if not brain.any():
        raise ValueError("series must show a brain, got no region of soft tissue (-5 to 110 HU) that could be one")
    steady = away_from_bone(series, spacing_mm)
    inner = brain & steady
    n_baseline = arrival_frame(series, inner if inner.any() else brain, times)
    return Examination(series, times, all_times, spacing_mm, brain, steady, n_baseline, motion)


def _largest_movement_mm(examination: Examination) -> float:
    """Largest displacement of a frame that the curves of the brain, away from bone, tell."""
    grid = MaskedGrid(examination.brain & examination.steady)
    if not grid.count:
        return 0.0
    curves = grid.curves(examination.series, _MOTION_SMOOTHING_MM, examination.spacing_mm)
    motion = remove_residual_motion(curves, grid, examination.n_baseline, examination.spacing_mm)
    return float(displacement_mm(motion).max())


def median_interval_s(times_s: Tensor) -> float:
    """Usual time between frames (T,), s."""
    return float(times_s.diff().median())


def even_times(times_s: Tensor) -> Tensor:
    """Evenly spaced times from the first to the last of these, at their usual interval.

    Raises:
        ValueError: they leave a gap that takes more than 8 times the frames to fill.
    """
    interval_s = median_interval_s(times_s)
    count = int(float(times_s[-1] - times_s[0]) / interval_s + 1e-3) + 1
    if count > _MOST_FRAMES * len(times_s):
        steps = times_s.diff()
        gap = int(steps.argmax())
        raise ValueError(
            f"times_s must not leave a gap in the series, got {float(steps[gap]):.6g} s between the frames {gap} and "
            f"{gap + 1}, where the usual interval is {interval_s:.3g} s: are all times in seconds?"
        )
    return times_s[0] + interval_s * torch.arange(count, device=times_s.device)
