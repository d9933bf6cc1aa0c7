"""What makes a curve that of an artery or a vein: height, arrival, width, roughness, area."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .enhancement import Times, frame_times

_FOOT_SHARE = 0.2  # of the peak; the arrival is the crossing before the peak
_MIDDLE_WEIGHT, _SIDE_WEIGHT = 0.5, 0.25


class CurveFeatures(NamedTuple):
    """Features of curves, tensors of shape (N,)."""

    peak_hu: Tensor
    """Largest enhancement after smoothing over three frames, HU."""
    peak_s: Tensor
    """Its time, s."""
    arrival_s: Tensor
    """Time at which the curve last rises through a fifth of its peak before it, s."""
    width_s: Tensor
    """Full width at half maximum, s; to the end of the series where it does not fall that far."""
    roughness: Tensor
    """Mean absolute second difference of the unsmoothed curve over its peak, see `_bend`."""
    area_hu_s: Tensor
    """Area under the curve by trapezoids, HU s."""


def curve_features(curves: Tensor, times_s: Times) -> CurveFeatures:
    """Describe enhancement curves.

    Args:
        curves: (T, N) enhancement over the baseline in HU.
        times_s: the time of every frame in s, or the time between frames; the features count from the first frame.
    """
    times = frame_times(times_s, len(curves), curves.device)
    smooth = smooth_in_time(curves)
    peak_hu, peak = smooth.max(dim=0)
    frame = torch.arange(len(curves), device=curves.device)[:, None]
    rise = _last_below(smooth, _FOOT_SHARE * peak_hu, frame < peak)
    half_before = _last_below(smooth, 0.5 * peak_hu, frame < peak)
    half_after = len(curves) - 1 - _last_below(smooth.flip(0), 0.5 * peak_hu, frame < len(curves) - 1 - peak)
    return CurveFeatures(
        peak_hu,
        times[peak],
        _between(times, rise),
        _between(times, half_after) - _between(times, half_before),
        _bend(curves, times).abs().mean(dim=0) / peak_hu.clamp_min(1e-3),
        torch.trapezoid(curves, times, dim=0),
    )


def smooth_in_time(curves: Tensor) -> Tensor:
    """Weight every frame and its neighbors by 1/4, 1/2, 1/4; curves (T, N), the ends repeated."""
    smooth = _MIDDLE_WEIGHT * curves
    for part, neighbor in (
        (smooth[1:], curves[:-1]),
        (smooth[:-1], curves[1:]),
        (smooth[:1], curves[:1]),
        (smooth[-1:], curves[-1:]),
    ):
        part.add_(neighbor, alpha=_SIDE_WEIGHT)
    return smooth


def _bend(curves: Tensor, times: Tensor) -> Tensor:
    """Second differences (T - 2, N): twice what the middle one of three frames is off the line between the others."""
    share = ((times[1:-1] - times[:-2]) / (times[2:] - times[:-2]))[:, None]
    return 2 * (torch.lerp(curves[:-2], curves[2:], share) - curves[1:-1])


def _between(times: Tensor, place: Tensor) -> Tensor:
    """Times (N,) at places (N,) between frames."""
    first = place.floor().long().clamp(0, len(times) - 1)
    return torch.lerp(times[first], times[(first + 1).clamp_max(len(times) - 1)], place - first)


def _last_below(curves: Tensor, level: Tensor, allowed: Tensor) -> Tensor:
    """Place, between frames, where curves (T, N) last rise through `level` (N,) in the allowed frames; 0 if nowhere."""
    below = (curves <= level) & allowed
    place = torch.arange(1, len(curves) + 1, device=curves.device)[:, None]
    last = (below * place).amax(dim=0) - 1
    start = last.clamp_min(0)[None]
    low, high = curves.gather(0, start)[0], curves.gather(0, (start + 1).clamp_max(len(curves) - 1))[0]
    share = ((level - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return torch.where(last >= 0, last + share, 0.0)
