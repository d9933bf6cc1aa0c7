"""From attenuation to enhancement: even frame times, arrival of contrast, subtraction of the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .frames import range_over_time

_UNEVEN_SHARE = 0.02  # of a frame interval; smaller deviations are rounding in the header
_VESSEL_SHARE = 0.005  # of the voxels, those that change most
_FEWEST_VESSEL_VOXELS = 20
_ARRIVAL_SHARE = 0.05  # of the vessels' peak
_ARTERIAL_LEAD_S = 2.0
_SHORTEST_SERIES = 3
_MOST_FRAMES = 8  # times those of the series, for even ones: a second phase may be that much slower (a choice)

Times = float | Sequence[float] | Tensor
"""The time of every frame in s, rising, or the time between frames."""


def frame_times(times_s: Times, n_frames: int, device: torch.device | None = None) -> Tensor:
    """Times (T,) of the frames in s after the first one, float32, from these or from the time between frames.

    Raises:
        ValueError: the interval is not positive, or the times are not one per frame, finite and rising.
    """
    if isinstance(times_s, (int, float)):
        if not (math.isfinite(times_s) and times_s > 0):
            raise ValueError(f"times_s must be a positive time between frames or one time per frame, got {times_s}")
        return float(times_s) * torch.arange(n_frames, device=device)
    times = torch.as_tensor(times_s, dtype=torch.float64)
    if times.shape != (n_frames,) or not torch.isfinite(times).all() or not (times.diff() > 1e-3).all():
        raise ValueError(
            f"times_s must be {n_frames} rising times (by 1 ms at least), one per frame, got {times.tolist()}"
        )
    return (times - times[:1]).to(device, torch.float32)


def even_frames(series: Tensor, times_s: Times) -> tuple[Tensor, float]:
    """Resample a series to frames that are evenly spaced in time.

    Args:
        series: (T, ...) frames.
        times_s: the time of every frame in s, rising, or the time between frames.

    Returns:
        The series, resampled by linear interpolation at the median interval where the times are uneven and untouched
        otherwise, and the time between its frames in s.

    Raises:
        ValueError: there are fewer than 3 frames, the times are not one per frame, finite and rising, or they leave a
            gap that takes more than 8 times the frames to fill.
    """
    n_frames = len(series)
    if n_frames < _SHORTEST_SERIES:
        raise ValueError(f"series must have at least {_SHORTEST_SERIES} frames, got {n_frames}")
    if isinstance(times_s, (int, float)):
        frame_times(times_s, n_frames)
        return series, float(times_s)
    times = frame_times(times_s, n_frames).double().cpu()
    steps = times.diff()
    dt_s = float(steps.median())
    if float((steps - dt_s).abs().max()) <= _UNEVEN_SHARE * dt_s:
        return series, float(steps.mean())
    n_even = int(float(times[-1]) / dt_s + 1e-6) + 1
    if n_even > _MOST_FRAMES * n_frames:
        gap = int(steps.argmax())
        raise ValueError(
            f"times_s must not leave a gap in the series, got {float(steps[gap]):.6g} s between the frames {gap} and "
            f"{gap + 1}, where the usual interval is {dt_s:.3g} s: are all times in seconds?"
        )
    wanted = dt_s * torch.arange(n_even, dtype=torch.float64)
    after = torch.searchsorted(times, wanted).clamp(1, n_frames - 1)
    share = ((wanted - times[after - 1]) / steps[after - 1]).to(series.device, torch.float32)
    share = share.reshape(-1, *[1] * (series.ndim - 1))
    after = after.to(series.device)
    return torch.lerp(series[after - 1].float(), series[after].float(), share), dt_s


def arrival_frame(series: Tensor, brain: Tensor, times_s: Times) -> int:
    """Number of frames before contrast arrives anywhere in the brain, at least 1.

    The voxels that change most are vessels. Their mean stays above a twentieth of its peak from some frame on; the
    first artery is about 2 s ahead of that mean.

    Args:
        series: (T, H, W, D) in HU.
        brain: boolean (H, W, D), not empty.
        times_s: the time of every frame in s, or the time between frames.
    """
    times = frame_times(times_s, len(series), series.device)
    lowest, highest = range_over_time(series)
    change = torch.where(brain, (highest - lowest).float(), -1.0).reshape(-1)
    count = min(int(brain.sum()), max(_FEWEST_VESSEL_VOXELS, round(_VESSEL_SHARE * int(brain.sum()))))
    along_h, along_w, along_d = torch.unravel_index(change.topk(count).indices, brain.shape)
    vessels = series[:, along_h, along_w, along_d].float().mean(dim=1)
    peak = int(vessels.argmax())
    low = float(vessels[: peak + 1].min())
    quiet = torch.nonzero(vessels[:peak] <= low + _ARRIVAL_SHARE * (float(vessels[peak]) - low))
    rising = int(quiet[-1]) + 1 if len(quiet) else 1
    before_artery = times <= times[min(rising, len(times) - 1)] - _ARTERIAL_LEAD_S + 1e-3
    return max(1, int(before_artery.sum()) - 1)


def subtract_baseline(curves: Tensor, n_baseline: int) -> Tensor:
    """Subtract, in place, the mean of the first `n_baseline` frames from curves (T, N); returns that mean (N,)."""
    baseline = curves[:n_baseline].mean(dim=0)
    curves -= baseline
    return baseline


def noise_to_peak(curves: Tensor, n_baseline: int) -> float:
    """Noise of enhancement curves (T, N), from second differences, over the mean of their peaks."""
    if not curves.shape[1] or len(curves) < 3:
        return 0.0
    bend = (curves[2:] + curves[:-2]).sub_(curves[1:-1], alpha=2)
    noise_hu = float((bend.square_().mean() / 6).sqrt())  # the variance of a second difference is 1 + 4 + 1 times
    mean_curve = curves.mean(dim=1)
    peak_hu = float(mean_curve.max() - mean_curve[:n_baseline].mean())
    return noise_hu / max(peak_hu, 1e-3)
