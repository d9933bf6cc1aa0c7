"""Arterial input and venous output functions: found by themselves, or taken from the user."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .bolus_shapes import correlation
from .brain import away_from_bone, head_interior
from .curve_features import CurveFeatures, curve_features
from .enhancement import Times, frame_times, subtract_baseline
from .frames import mean_over_time
from .masked_grid import MaskedGrid, Spacing
from .spline import spline_through
from .venous_output import LARGEST_VESSEL_HU, find_venous_output

AifSource = Tensor | tuple[int, int, int]

_CANDIDATE_SHARE = 0.01  # of the voxels of the brain, those that enhance most
_CANDIDATES = (200, 4000)  # at least and at most
_AIF_VOXELS = 8
_ARRIVAL_TOLERANCE_S = 1.5
_ROUGHNESS_TOLERANCE = 0.1
_SMOOTH_SHARE = 0.25  # of the high curves, that are as smooth as the noise allows
_HIGH = 0.5  # of the highest peaks
_SMALLEST_CORRELATION = 0.9  # with the best candidate's curve
_LARGEST_SCALE = 15.0
_FIRST_CURVES = 5  # that set the earliest arrival, as a single one may be noise
_SAME_TIMES_S = 0.5  # of slices; the mean of curves so far apart loses 1 % of the peak of a bolus with a width of 4 s
_TYPICAL_SHARE = 0.25  # of the best height and smoothness
_VESSEL_SHARE, _VESSEL_EXCESS = 0.07, 0.02  # of the artery's enhancement: at all, and above the surroundings
_VESSEL_SMOOTHING_MM, _VESSEL_SURROUNDINGS_MM = 1.0, 3.5
_WINDOW_S = 4.0
_PASSAGE_S = (0.0, 2.5, 5.0, 8.0)  # from the arterial to the venous peak


class ArterialInput(NamedTuple):
    """The arterial input function of an examination and where it came from."""

    aif_hu: Tensor
    """(T,) enhancement in HU, scaled for partial volume, zero before contrast arrives."""
    aif_mask: Tensor
    """Boolean (H, W, D): the voxels it is the mean of; empty for a curve that was given."""
    vof_hu: Tensor
    """(T,) enhancement of the venous output function in HU; zero where none was found."""
    vof_mask: Tensor
    """Boolean (H, W, D): its voxels."""
    scale: float
    """Factor by which the arterial curve was raised to the venous area; 1 where no vein was found."""
    scale_sd: float = math.nan
    """Standard deviation of the factor by the spread of the venous areas; NaN, which is unknown, without a vein."""
    sampled: tuple[Tensor, Tensor] | None = None
    """Where slices have times of their own: enhancement (T,) in HU as `aif_hu`, and the times (T,) in s at which the
    slices of its voxels were sampled; `aif_hu` is then the spline through it at the times of the frames."""


def find_arterial_input(
    series: Tensor,
    brain: Tensor,
    n_baseline: int,
    times_s: Times,
    spacing_mm: Spacing,
    allowed: Tensor | None = None,
    slice_times_s: Tensor | None = None,
) -> ArterialInput:
    """Choose arterial and venous voxels by their curves.

    Of the voxels of the brain that enhance most, away from bone and by no more than contrast can, each gets the score
    of `arterial_score`. The best one and the next best whose curves resemble it make the arterial input function. The
    venous output function is a large sinus, see `find_venous_output`. A sinus is large enough to be free of partial
    volume, and what flows in flows out: the arterial curve is raised to the venous area. This is common practice, and
    an approximation: Riordan et al., PLoS ONE 2014;9:e97586, find the carotid's area larger than the sinus's.

    Args:
        series: (T, H, W, D) in HU, without frames that the head's movement spoiled.
        brain: boolean (H, W, D).
        n_baseline: frames before contrast arrives.
        times_s: the time of every frame in s, or the time between frames.
        spacing_mm: voxel size along H, W and D.
        allowed: boolean (H, W, D), where an artery may be; `away_from_bone` if None.
        slice_times_s: (D, T) times of the slices in s, where they have their own. The voxels of the artery then lie in
            slices whose times differ by 0.5 s at most from those of the best voxel, and the curve is at their means.

    Raises:
        ValueError: the brain is empty, or nothing in it enhances like an artery.
    """
    if not brain.any():
        raise ValueError("brain must have at least one voxel to look for an artery in, got none")
    times = frame_times(times_s, len(series), series.device)
    rise = _lasting_rise(series, n_baseline)
    allowed = away_from_bone(series, spacing_mm) if allowed is None else allowed
    rise = torch.where(allowed & torch.isfinite(rise) & (rise <= LARGEST_VESSEL_HU), rise, 0.0)
    grid, curves = _candidates(series, rise, brain, n_baseline)
    features = curve_features(curves, times) if slice_times_s is None else _at_own_times(grid, curves, slice_times_s)
    score = arterial_score(features)
    best = int(score.argmax())
    if not float(score[best]) > 0:
        raise ValueError("series must show contrast in an artery, got no voxel of the brain that enhances like one")
    alike = correlation(curves, curves[:, best : best + 1]) >= _SMALLEST_CORRELATION
    alike &= (features.arrival_s - features.arrival_s[best]).abs() <= _ARRIVAL_TOLERANCE_S
    if slice_times_s is not None:
        own_s = slice_times_s[_slices_of(grid)]
        alike &= (own_s - own_s[best]).abs().amax(dim=1) <= _SAME_TIMES_S
    chosen = torch.where(alike, score, 0.0).topk(min(_AIF_VOXELS, len(score))).indices
    chosen = chosen[alike[chosen]]
    aif_hu = curves[:, chosen].mean(dim=1).clamp_min(0)
    aif_hu[: max(n_baseline - 1, 0)] = 0  # noise before the arrival would act as early contrast
    if not float(aif_hu.sum()) > 0:
        raise ValueError(
            f"series must show contrast in an artery, got one that falls from the baseline of {n_baseline} frames on: "
            "the head moved much, or contrast was there from the start"
        )
    flags = torch.zeros_like(score)
    flags[chosen] = 1
    mask = grid.volume(flags) > 0
    sampled = None if slice_times_s is None else (aif_hu, _times_of(mask, slice_times_s))
    aif_hu = aif_hu if sampled is None else arterial_at(times, *sampled)
    interior = head_interior(series, brain, spacing_mm)
    vein = find_venous_output(series, brain, interior, aif_hu, n_baseline, times, spacing_mm)
    ratio = float(torch.trapezoid(vein.vof_hu, times) / torch.trapezoid(aif_hu, times).clamp_min(1e-6))
    scale = min(max(ratio, 1.0), _LARGEST_SCALE)
    sampled = None if sampled is None else (sampled[0] * scale, sampled[1])
    return ArterialInput(
        aif_hu * scale, mask, vein.vof_hu, vein.mask, scale, scale_sd=ratio * vein.spread, sampled=sampled
    )


def arterial_score(features: CurveFeatures) -> Tensor:
    """Score (N,) from 0 to 1 of how arterial each curve is, a product of four terms.

    * height: the peak over the 99th percentile of peaks;
    * arrival: ``exp(-(late / 1.5 s)^2 / 2)``, late against the fifth arrival of the curves that are smooth and not
      low: large arteries may be few, and beyond an occlusion larger ones fill seconds later;
    * width: ``exp(-(w / w0 - 1))`` for curves wider than w0, the narrowest tenth of them;
    * smoothness: ``exp(-(roughness / r0)^2 / 2)``, with r0 = 0.1, or what a quarter of the high curves stay below where
      noise makes them rougher: a sinus would win then, being larger and smoother than arteries.

    That arterial curves are high, early, narrow and smooth is what automatic selection commonly builds on, by clusters
    in Mouridsen et al., Magn Reson Med 2006;55:524; this product and its constants are a choice.
    """
    peak = features.peak_hu.clamp_min(0)
    height = (peak / torch.quantile(peak, 0.99).clamp_min(1e-6)).clamp_max(1)
    usual = torch.quantile(features.roughness[height >= _HIGH * height.max()], _SMOOTH_SHARE)
    smoothness = torch.exp(-0.5 * (features.roughness / usual.clamp_min(_ROUGHNESS_TOLERANCE)) ** 2)
    good = height * smoothness
    typical = good >= _TYPICAL_SHARE * good.max()
    arrivals = features.arrival_s[typical].sort().values
    early = arrivals[min(_FIRST_CURVES, len(arrivals)) - 1]
    narrow = torch.quantile(features.width_s[typical], 0.1)
    late = (features.arrival_s - early) / _ARRIVAL_TOLERANCE_S
    wide = (features.width_s / narrow.clamp_min(1e-6) - 1).clamp_min(0)
    return good * torch.exp(-0.5 * late**2) * torch.exp(-wide)


def given_arterial_input(
    series: Tensor, source: AifSource, n_baseline: int, slice_times_s: Tensor | None = None
) -> ArterialInput:
    """Take the arterial input function from the user.

    Args:
        series: (T, H, W, D) in HU.
        source: the enhancement curve (T,) in HU, a mask (H, W, D) of arterial voxels, or the indices of one voxel.
        n_baseline: frames before contrast arrives.
        slice_times_s: (D, T) times of the slices in s, where they have their own: the curve of voxels is at the means
            of theirs, one that is given at the means of all slices.

    Raises:
        ValueError: the source fits neither, lies outside the image, or has no contrast in it.
    """
    nothing, nowhere = series.new_zeros(len(series), dtype=torch.float32), torch.zeros_like(series[0], dtype=torch.bool)
    mask = nowhere
    if isinstance(source, Tensor) and source.shape == (len(series),):
        curve = source.to(series.device, torch.float32)
    else:
        mask = given_voxels(series, source)
        curves = MaskedGrid(mask).curves(series)
        subtract_baseline(curves, n_baseline)
        curve = curves.mean(dim=1)
    if not (torch.isfinite(curve).all() and float(curve.sum()) > 0):
        raise ValueError("aif must have finite values and a positive area, got a curve without contrast")
    curve = curve.clamp_min(0)
    if slice_times_s is None or not mask.any():
        return ArterialInput(curve, mask, nothing, nowhere, 1.0)
    sampled = curve, _times_of(mask, slice_times_s)
    return ArterialInput(arterial_at(slice_times_s.mean(dim=0), *sampled), mask, nothing, nowhere, 1.0, sampled=sampled)


def vessel_mask(
    series: Tensor, grid: MaskedGrid, arterial: ArterialInput, n_baseline: int, times_s: Times, spacing_mm: Spacing
) -> Tensor:
    """Voxels (H, W, D) that hold too much blood for tissue, from the passage of the bolus through arteries and veins.

    Tissue holds a few per cent of blood and spreads the bolus, so its enhancement stays below 7 % of the artery's. The
    blood of a vessel that fills a small part of a voxel stands out from the surroundings by more than 2 %. Means over
    short windows and a millimetre are looked at, as the largest of single values would be noise: what is left over
    would then be voxels whose noise is low just there, and the mean of their curves would fall.

    Args:
        series: (T, H, W, D) in HU.
        grid: the voxels to look at.
        arterial: the arterial input function.
        n_baseline: frames before contrast arrives.
        times_s: the time of every frame in s, or the time between frames.
        spacing_mm: voxel size along H, W and D.
    """
    baseline = mean_over_time(series[:n_baseline])
    peak = int(arterial.aif_hu.argmax())
    times = frame_times(times_s, len(series), torch.device("cpu"))
    after_peak_s = (times - times[peak])[:, None]
    centres = sorted(set((after_peak_s - torch.tensor(_PASSAGE_S)).abs().argmin(dim=0).tolist()))
    nearby = [torch.nonzero((times - times[centre]).abs() <= _WINDOW_S / 2).squeeze(1) for centre in centres]
    windows = [
        mean_over_time(series[max(0, min(int(near[0]), centre - 1)) : max(int(near[-1]), centre + 1) + 1])
        for centre, near in zip(centres, nearby, strict=True)
    ]
    rise = grid.curves(torch.stack(windows) - baseline, _VESSEL_SMOOTHING_MM, spacing_mm).amax(dim=0)
    rise /= arterial.aif_hu[peak]
    large = grid.volume(rise) > _VESSEL_SHARE
    surroundings = grid.smooth(rise[None], _VESSEL_SURROUNDINGS_MM, spacing_mm, ~large)[0]
    return large | (grid.volume(rise - surroundings) > _VESSEL_EXCESS)


def arterial_at(times_s: Tensor, curve_hu: Tensor, curve_times_s: Tensor) -> Tensor:
    """An arterial curve (T,) at other times, by the spline that estimates use."""
    values = curve_hu.double()
    found = spline_through(curve_times_s.double(), values, torch.ones_like(values), times_s.double())
    return found.clamp_min(0).to(curve_hu.dtype)


def given_voxels(series: Tensor, source: AifSource) -> Tensor:
    """The voxels (H, W, D) of a series that the user names by a mask or by the indices of one of them.

    Raises:
        ValueError: they do not fit the series (T, H, W, D).
    """
    shape = tuple(series.shape[1:])
    if isinstance(source, Tensor):
        if tuple(source.shape) != shape or not (source != 0).any():
            raise ValueError(
                f"aif must be a curve of {len(series)} values, a mask {shape} with at least one voxel "
                f"or the indices of a voxel, got a tensor {tuple(source.shape)}"
            )
        return (source != 0).to(series.device)
    if len(source) != 3 or not all(0 <= index < size for index, size in zip(source, shape, strict=True)):
        raise ValueError(f"aif must be three indices of a voxel of the image {shape}, got {tuple(source)}")
    mask = torch.zeros(shape, dtype=torch.bool, device=series.device)
    mask[tuple(source)] = True
    return mask


def _lasting_rise(series: Tensor, n_baseline: int) -> Tensor:
    """Largest enhancement (H, W, D) that two frames in a row reach: what one frame alone shows is no bolus."""
    highest = torch.minimum(series[0], series[1]).float()
    for frame, following in zip(series[1:-1], series[2:], strict=True):
        highest = torch.maximum(highest, torch.minimum(frame, following).float())
    return highest - mean_over_time(series[:n_baseline])


def _slices_of(grid: MaskedGrid) -> Tensor:
    """The slice (N,) of each voxel of a grid."""
    return grid.curves(torch.arange(grid.mask.shape[2], device=grid.mask.device).expand(1, *grid.mask.shape))[0].long()


def _at_own_times(grid: MaskedGrid, curves: Tensor, slice_times_s: Tensor) -> CurveFeatures:
    """Features (N,) of curves (T, N), each by the times of its slice (D, T)."""
    slices = _slices_of(grid)
    features = curves.new_empty(len(CurveFeatures._fields), curves.shape[1])
    for index in slices.unique().tolist():
        part, times_s = slices == index, slice_times_s[index]
        found = curve_features(curves[:, part], times_s)
        start_s = float(times_s[0])  # which features count from
        found = found._replace(peak_s=found.peak_s + start_s, arrival_s=found.arrival_s + start_s)
        features[:, part] = torch.stack(list(found))
    return CurveFeatures(*features)


def _times_of(mask: Tensor, slice_times_s: Tensor) -> Tensor:
    """Mean (T,) of the times of slices (D, T) over the voxels of a mask (H, W, D)."""
    count = mask.sum(dim=(0, 1)).to(slice_times_s)
    return count @ slice_times_s / count.sum()


def _candidates(series: Tensor, rise: Tensor, region: Tensor, n_baseline: int) -> tuple[MaskedGrid, Tensor]:
    """The voxels of a region that rise most, and their enhancement curves (T, N)."""
    inside = rise[region]
    count = min(max(_CANDIDATES[0], round(_CANDIDATE_SHARE * len(inside))), _CANDIDATES[1], len(inside))
    grid = MaskedGrid(region & (rise >= inside.topk(count).values[-1]))
    curves = grid.curves(series)
    subtract_baseline(curves, n_baseline)
    return grid, curves
