"""Numbers that say whether an arterial input function can be one."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from .arterial_input import ArterialInput
from .curve_features import curve_features
from .enhancement import Times
from .frames import range_over_time


class ArterialQuality(NamedTuple):
    """What an arterial input function looks like; the last two are of its voxels, and a given curve has none."""

    peak_hu: float
    """Largest enhancement, before scaling."""
    fwhm_s: float
    """Full width at half maximum."""
    ceiling_frames: float
    """Frames at which a voxel (the median one) holds the largest value of the whole series: the series is clipped."""
    plateau_frames: float
    """Frames at which a voxel (the median one) holds its own largest value: something clips that voxel."""


def arterial_quality(series: Tensor, arterial: ArterialInput, times_s: Times) -> ArterialQuality:
    """Describe an arterial input function and its voxels.

    Args:
        series: (T, H, W, D) in HU.
        arterial: the arterial input function, of the same frames.
        times_s: the time of every frame in s, or the time between frames.
    """
    curve = arterial.aif_hu / arterial.scale
    peak_hu, fwhm_s = float(curve.max()), float(curve_features(curve[:, None], times_s).width_s)
    if not arterial.aif_mask.any():
        return ArterialQuality(peak_hu, fwhm_s, 0.0, 0.0)
    curves = series[:, arterial.aif_mask]
    highest = range_over_time(series)[1].float().nan_to_num(-math.inf, posinf=-math.inf).max()
    return ArterialQuality(
        peak_hu,
        fwhm_s,
        float((curves == highest).sum(dim=0).median()),
        float((curves == curves.amax(dim=0)).sum(dim=0).median()),
    )
