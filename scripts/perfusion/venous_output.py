"""Venous output function: a large sinus, found by its shape, its lateness and its area."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from .bolus_shapes import correlation, delayed, dispersed
from .brain import fluid_mask
from .curve_features import CurveFeatures, curve_features, smooth_in_time
from .enhancement import subtract_baseline
from .frames import mean_over_time, range_over_time
from .masked_grid import MaskedGrid, Spacing
from .tissue_delay import TissueDelay, best_lag_s

LARGEST_VESSEL_HU = 600.0
"""Enhancement that no contrast reaches: what rises by more is bone or metal that moved into the voxel.

40 ml of contrast with 370 mg/ml of iodine, injected within 7 s, make at most 20 mg/ml in blood; at 80 kV and 30 to 40
HU for each mg/ml (Bae, Radiology 2010;256:32) that is 600 to 800 HU, before the heart and the lungs disperse it.
"""

_VOXELS = 12
_TYPICAL_VOXEL = 3  # counted from the largest area, which may be noise
_WHOLE_SHARE = 0.85  # of its area; what is below shares its voxel with other tissue
_MOST_CANDIDATES = 20_000
_PEAK_S = (-2.0, 2.0)  # around the arterial peak
_PASSAGE_S = (2.0, 12.0)  # after the arterial peak, when sinuses are at their brightest
_SMALLEST_PASSAGE = 0.7  # of the artery's mean enhancement then
_SMALLEST_AREA = 0.7  # of the artery's: a sinus is free of partial volume, but noise and Riordan et al. take some off
_SMALLEST_CORRELATION = 0.9
_DISPERSION_S = (0.0, 3.0, 6.0)  # mean transit times that the likeness of a venous curve is tried with
_LAG_S = 1.5  # from arterial to venous arrival; the transit through the brain takes 4 to 8 s
_ROUGHNESS = 0.2
_AREA_ERROR = 0.1  # what pixels of 1 to 2 mm and the end of the series take off the area of a sinus of 6 mm (phantom)
_SINUS_MM = 3.0  # the straight sinus, the narrowest of the large ones, is 3 to 5 mm wide
_LATE_SHARE = 0.5  # of the tissue around
_LEAD_S = 2.0  # by which a vein's bolus may seem to be ahead of the tissue's around it
_VESSEL_SHARE = 0.25  # of the artery's peak, above which a voxel is no tissue, even if that artery fills half of its


class VenousOutput(NamedTuple):
    """Curve and voxels of the venous output function."""

    vof_hu: Tensor
    """(T,) enhancement in HU; zero where no vein was found."""
    mask: Tensor
    """Boolean (H, W, D): its voxels; empty where no vein was found."""
    spread: float
    """Standard deviation of the area over the area: among the voxels, between two sinuses, and 0.1 for what both have
    in common; NaN where no vein was found."""


def find_venous_output(
    series: Tensor, brain: Tensor, interior: Tensor, aif_hu: Tensor, n_baseline: int, times: Tensor, spacing_mm: Spacing
) -> VenousOutput:
    """Find the voxels of a large sinus in the interior of the head.

    A vein shows the arterial bolus after the transit through the brain, which delays and widens it, and keeps its area
    where no other tissue shares the voxel. So does an artery beyond an occlusion, but for three things: the tissue
    around it is late; its bolus comes before the tissue's, not after it; and it is narrow. Candidates have a curve
    that is the arterial one, later and wider, with an area that is not smaller; lie neither where most of the tissue
    around is late nor ahead of that tissue; and fill squares of 3 mm. Of these, the voxels of largest area are taken.

    Args:
        series: (T, H, W, D) in HU.
        brain: boolean (H, W, D).
        interior: boolean (H, W, D), where to look, see `head_interior`.
        aif_hu: (T,), the arterial curve, as measured.
        n_baseline: frames before contrast arrives.
        times: (T,), the time of each frame in s.
        spacing_mm: voxel size along H, W and D.
    """
    nothing = VenousOutput(torch.zeros_like(aif_hu), torch.zeros_like(brain), float("nan"))
    baseline = mean_over_time(series[:n_baseline])
    peak_s = times[aif_hu.argmax()]
    arterial, passage = ((times >= peak_s + start) & (times <= peak_s + end) for start, end in (_PEAK_S, _PASSAGE_S))
    if not passage.any():
        return nothing
    enhanced = _mean_frames(series, passage) - baseline
    bright = interior & (enhanced > _SMALLEST_PASSAGE * aif_hu[passage].mean())
    lowest, highest = range_over_time(series)
    bright &= highest - baseline <= LARGEST_VESSEL_HU
    if not bright.any():
        return nothing
    least = torch.where(bright, enhanced, 0.0).reshape(-1).topk(min(_MOST_CANDIDATES, bright.numel())).values[-1]
    grid = MaskedGrid(bright & (enhanced >= least))
    curves = grid.curves(series)
    subtract_baseline(curves, n_baseline)
    artery, features = curve_features(aif_hu[:, None], times), curve_features(curves, times)
    venous = _later_and_wider(curves, features, artery, aif_hu, times)
    vessels = torch.maximum(enhanced, _mean_frames(series, arterial) - baseline) > _VESSEL_SHARE * aif_hu.max()
    tissue = brain & ~vessels & ~fluid_mask(baseline, brain)
    around = TissueDelay(series, tissue, aif_hu, n_baseline, times, spacing_mm).around(grid)
    venous &= around.late_share < _LATE_SHARE
    venous &= best_lag_s(curves, aif_hu, times)[0] >= around.lag_s - _LEAD_S
    # A sinus at the border of a brain that was cut out may have lost a part to the background.
    wide = _opened((grid.volume(venous.float()) > 0) | (lowest == highest), spacing_mm)
    venous &= grid.curves(wide[None])[0] > 0
    area = torch.where(venous, features.area_hu_s, 0.0)
    largest, chosen = area.topk(min(_VOXELS, len(area)))
    chosen = chosen[largest > _WHOLE_SHARE * largest[:_TYPICAL_VOXEL][-1]]
    if not len(chosen):
        return nothing
    flags = torch.zeros_like(area)
    flags[chosen] = 1
    return VenousOutput(curves[:, chosen].mean(dim=1), grid.volume(flags) > 0, _spread(grid, area, chosen))


def _mean_frames(series: Tensor, wanted: Tensor) -> Tensor:
    """Mean (H, W, D) of the wanted frames (T,), which follow each other, of a series."""
    frames = torch.nonzero(wanted).squeeze(1)
    return mean_over_time(series[int(frames[0]) : int(frames[-1]) + 1])


def _later_and_wider(
    curves: Tensor, features: CurveFeatures, artery: CurveFeatures, aif_hu: Tensor, times: Tensor
) -> Tensor:
    """Boolean (N,): curves (T, N) that are the arterial one (T,), later, wider and not smaller."""
    smooth, delay_s = smooth_in_time(curves), features.peak_s - artery.peak_s
    likeness = []
    for width_s in _DISPERSION_S:
        shape = dispersed(aif_hu, times, width_s)
        later = times[smooth_in_time(shape[:, None])[:, 0].argmax()] - artery.peak_s
        likeness.append(correlation(smooth, delayed(shape, times, (delay_s - later).clamp_min(0))))
    similar = torch.stack(likeness).amax(dim=0) >= _SMALLEST_CORRELATION
    late = features.arrival_s >= artery.arrival_s + _LAG_S
    wide = features.width_s >= artery.width_s
    return (
        similar
        & late
        & wide
        & (features.roughness <= _ROUGHNESS)
        & (features.area_hu_s >= _SMALLEST_AREA * artery.area_hu_s)
    )


def _opened(mask: Tensor, spacing_mm: Spacing) -> Tensor:
    """What of a mask (H, W, D) is covered by squares of 3 mm, at least of two voxels, within it, slice by slice."""
    size = [max(2, round(_SINUS_MM / pixel_mm)) for pixel_mm in spacing_mm[:2]]
    slices = F.pad(mask.permute(2, 0, 1)[:, None].float(), (size[1] - 1, size[1] - 1, size[0] - 1, size[0] - 1))
    for sign in (-1, 1):  # the smallest, then the largest value, along one axis after the other
        for kernel in ((size[0], 1), (1, size[1])):
            slices = sign * F.max_pool2d(sign * slices, kernel, stride=1)
    return (slices[:, 0] > 0).permute(1, 2, 0)


def _spread(grid: MaskedGrid, area: Tensor, chosen: Tensor) -> float:
    """Standard deviation over mean of the areas: of the chosen voxels, and of the largest in two sinuses."""
    pieces = torch.from_numpy(ndimage.label((grid.volume(area) > 0).cpu().numpy(), np.ones((3, 3, 3)))[0])
    piece = grid.curves(pieces.to(area.device)[None])[0].long()
    largest = area.new_zeros(int(piece.max()) + 1).scatter_reduce(0, piece, area, "amax")[1:]
    largest = largest.topk(min(2, len(largest))).values
    among_voxels = float(area[chosen].std(correction=0) / area[chosen].mean())
    among_sinuses = float(largest.std(correction=0) / largest.mean())
    return math.hypot(among_voxels, among_sinuses, _AREA_ERROR)
