"""Numbers that say whether an arterial input function can be one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .arterial_input import ArterialInput
from .brain import bone_mask
from .curve_features import curve_features
from .enhancement import Times
from .frames import range_over_time
from .masked_grid import Spacing


class ArterialQuality(NamedTuple):
    """What an arterial input function looks like; the last three are of its voxels, and a given curve has none."""

    peak_hu: float
    """Largest enhancement, before scaling."""
    fwhm_s: float
    """Full width at half maximum."""
    bone_mm: float
    """Distance within the slice from the nearest voxel to bone, in any frame; infinite without bone or voxels."""
    ceiling_frames: float
    """Frames at which a voxel (the median one) holds the largest value of the whole series: the series is clipped."""
    plateau_frames: float
    """Frames at which a voxel (the median one) holds its own largest value: something clips that voxel."""


def arterial_quality(
    series: Tensor, arterial: ArterialInput, times_s: Times, spacing_mm: Spacing, bone: Tensor | None = None
) -> ArterialQuality:
    """Describe an arterial input function and its voxels.

    Args:
        series: (T, H, W, D) in HU.
        arterial: the arterial input function, of the same frames.
        times_s: the time of every frame in s, or the time between frames.
        spacing_mm: voxel size along H, W and D.
        bone: boolean (H, W, D); `bone_mask` if None.
    """
    curve = arterial.aif_hu / arterial.scale
    peak_hu, fwhm_s = float(curve.max()), float(curve_features(curve[:, None], times_s).width_s)
    if not arterial.aif_mask.any():
        return ArterialQuality(peak_hu, fwhm_s, math.inf, 0.0, 0.0)
    curves = series[:, arterial.aif_mask]
    highest = range_over_time(series)[1].float().nan_to_num(-math.inf, posinf=-math.inf).max()
    return ArterialQuality(
        peak_hu,
        fwhm_s,
        _distance_mm(arterial.aif_mask, bone_mask(series) if bone is None else bone, spacing_mm),
        float((curves == highest).sum(dim=0).median()),
        float((curves == curves.amax(dim=0)).sum(dim=0).median()),
    )


def _distance_mm(voxels: Tensor, bone: Tensor, spacing_mm: Spacing) -> float:
    """Smallest distance in the plane from voxels to bone, both boolean (H, W, D), in mm."""
    in_plane_mm = torch.tensor(spacing_mm[:2], device=voxels.device)
    nearest = math.inf
    for index in torch.nonzero(voxels.any(dim=0).any(dim=0)).squeeze(1).tolist():
        ends_mm = [torch.nonzero(mask[..., index]) * in_plane_mm for mask in (voxels, bone)]
        if len(ends_mm[1]):
            nearest = min(nearest, float(torch.cdist(ends_mm[0], ends_mm[1]).min()))
    return nearest
