"""From attenuation to enhancement: frame times, arrival of contrast, subtraction of the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .frames import range_over_time

_VESSEL_SHARE = 0.005  # of the voxels, those that change most
_FEWEST_VESSEL_VOXELS = 20
_ARRIVAL_SHARE = 0.05  # of the vessels' peak
_ARTERIAL_LEAD_S = 2.0

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
    chosen = change.topk(count).indices  # `torch.unravel_index` would import sympy, which takes a second
    lines, along_d = chosen // brain.shape[2], chosen % brain.shape[2]
    vessels = series[:, lines // brain.shape[1], lines % brain.shape[1], along_d].float().mean(dim=1)
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
    bend_hu2 = torch.stack(
        [
            (before + after).sub_(middle, alpha=2).square_().mean()
            for before, middle, after in zip(curves[:-2], curves[1:-1], curves[2:], strict=True)
        ]
    )
    noise_hu = float((bend_hu2.mean() / 6).sqrt())  # the variance of a second difference is 1 + 4 + 1 times
    mean_curve = curves.mean(dim=1)
    peak_hu = float(mean_curve.max() - mean_curve[:n_baseline].mean())
    return noise_hu / max(peak_hu, 1e-3)
