"""Arterial input and venous output functions: found by themselves, or taken from the user."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .brain import away_from_bone, grow
from .curve_features import CurveFeatures, curve_features, smooth_in_time
from .enhancement import subtract_baseline
from .frames import mean_over_time, range_over_time
from .smoothing import MaskedGrid, Spacing

AifSource = Tensor | tuple[int, int, int]

_CANDIDATE_SHARE = 0.01  # of the voxels of the brain, those that enhance most
_CANDIDATES = (200, 4000)  # at least and at most
_AIF_VOXELS = 8
_VOF_VOXELS = 12
_ARRIVAL_TOLERANCE_S = 1.5
_ROUGHNESS_TOLERANCE = 0.1
_SMOOTH_SHARE = 0.25  # of the high curves, that are as smooth as the noise allows
_HIGH = 0.5  # of the highest peaks
_SMALLEST_CORRELATION = 0.9  # with the best candidate's curve
_VENOUS_DISPERSION_S = (0.0, 3.0, 6.0)  # mean transit times that the likeness of a venous curve is tried with
_VENOUS_LAG_S = 1.5  # from arterial to venous arrival; the transit through the brain takes 4 to 8 s
_SINUS_REACH_MM = 6.0  # the large sinuses lie between brain and bone
_LARGEST_SCALE = 15.0
_FIRST_CURVES = 5  # that set the earliest arrival, as a single one may be noise
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
    """Factor by which the arterial curve was raised to the venous area."""


def find_arterial_input(
    series: Tensor, brain: Tensor, n_baseline: int, dt_s: float, spacing_mm: Spacing
) -> ArterialInput:
    """Choose arterial and venous voxels by their curves.

    Of the voxels of the brain that enhance most, each gets the score of `arterial_score`. The best one and the next
    best whose curves resemble it make the arterial input function. The venous output function is the mean of those
    with the largest area that arrive later, also between brain and bone. A sinus is large enough to be free of partial
    volume, and what flows in flows out: the arterial curve is raised to the venous area. This is common practice, and
    an approximation: Riordan et al., PLoS ONE 2014;9:e97586, find the carotid's area larger than the sinus's.

    Args:
        series: (T, H, W, D) in HU.
        brain: boolean (H, W, D).
        n_baseline: frames before contrast arrives.
        dt_s: time between frames in s.
        spacing_mm: voxel size along H, W and D.

    Raises:
        ValueError: the brain is empty, or nothing in it enhances like an artery.
    """
    if not brain.any():
        raise ValueError("brain must have at least one voxel to look for an artery in, got none")
    baseline = mean_over_time(series[:n_baseline])
    rise = range_over_time(series)[1] - baseline
    rise = torch.where(away_from_bone(series, spacing_mm) & torch.isfinite(rise), rise, 0.0)
    grid, curves = _candidates(series, rise, brain, n_baseline)
    features = curve_features(curves, dt_s)
    score = arterial_score(features)
    best = int(score.argmax())
    if not float(score[best]) > 0:
        raise ValueError("series must show contrast in an artery, got no voxel of the brain that enhances like one")
    alike = _correlation(curves, curves[:, best : best + 1]) >= _SMALLEST_CORRELATION
    alike &= (features.arrival_s - features.arrival_s[best]).abs() <= _ARRIVAL_TOLERANCE_S
    chosen = torch.where(alike, score, 0.0).topk(min(_AIF_VOXELS, len(score))).indices
    chosen = chosen[alike[chosen]]
    aif_hu, aif_mask = curves[:, chosen].mean(dim=1), _voxels(grid, chosen)

    around = grow(brain, _SINUS_REACH_MM, spacing_mm)
    vof_hu, vof_mask = _venous_output(series, rise, around, n_baseline, dt_s, aif_hu)
    return _scaled(aif_hu, aif_mask, vof_hu, vof_mask, n_baseline)


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


def given_arterial_input(series: Tensor, source: AifSource, n_baseline: int) -> ArterialInput:
    """Take the arterial input function from the user.

    Args:
        series: (T, H, W, D) in HU.
        source: the enhancement curve (T,) in HU, a mask (H, W, D) of arterial voxels, or the indices of one voxel.
        n_baseline: frames before contrast arrives.

    Raises:
        ValueError: the source fits neither, lies outside the image, or has no contrast in it.
    """
    nothing, nowhere = series.new_zeros(len(series), dtype=torch.float32), torch.zeros_like(series[0], dtype=torch.bool)
    mask = nowhere
    if isinstance(source, Tensor) and source.shape == (len(series),):
        curve = source.to(series.device, torch.float32)
    else:
        mask = _given_voxels(series, source)
        curves = MaskedGrid(mask).curves(series)
        subtract_baseline(curves, n_baseline)
        curve = curves.mean(dim=1)
    if not (torch.isfinite(curve).all() and float(curve.sum()) > 0):
        raise ValueError("aif must have finite values and a positive area, got a curve without contrast")
    return ArterialInput(curve.clamp_min(0), mask, nothing, nowhere, 1.0)


def vessel_mask(
    series: Tensor, grid: MaskedGrid, arterial: ArterialInput, n_baseline: int, dt_s: float, spacing_mm: Spacing
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
        dt_s: time between frames in s.
        spacing_mm: voxel size along H, W and D.
    """
    baseline = mean_over_time(series[:n_baseline])
    peak = int(arterial.aif_hu.argmax())
    half = max(1, round(_WINDOW_S / dt_s / 2))
    centres = {min(peak + round(lag_s / dt_s), len(series) - 1) for lag_s in _PASSAGE_S}
    windows = [mean_over_time(series[max(0, centre - half) : centre + half + 1]) for centre in sorted(centres)]
    rise = grid.curves(torch.stack(windows) - baseline, _VESSEL_SMOOTHING_MM, spacing_mm).amax(dim=0)
    rise /= arterial.aif_hu[peak]
    large = grid.volume(rise) > _VESSEL_SHARE
    surroundings = grid.smooth(rise[None], _VESSEL_SURROUNDINGS_MM, spacing_mm, ~large)[0]
    return large | (grid.volume(rise - surroundings) > _VESSEL_EXCESS)


def _given_voxels(series: Tensor, source: AifSource) -> Tensor:
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


def _candidates(series: Tensor, rise: Tensor, region: Tensor, n_baseline: int) -> tuple[MaskedGrid, Tensor]:
    """The voxels of a region that rise most, and their enhancement curves (T, N)."""
    inside = rise[region]
    count = min(max(_CANDIDATES[0], round(_CANDIDATE_SHARE * len(inside))), _CANDIDATES[1], len(inside))
    grid = MaskedGrid(region & (rise >= inside.topk(count).values[-1]))
    curves = grid.curves(series)
    subtract_baseline(curves, n_baseline)
    return grid, curves


def _venous_output(
    series: Tensor, rise: Tensor, region: Tensor, n_baseline: int, dt_s: float, aif_hu: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean curve and voxels of the largest areas whose curves are the arterial one, later; zeros where there are none.

    A vein shows the arterial bolus after the transit through the brain, which delays and widens it.
    """
    grid, curves = _candidates(series, rise, region, n_baseline)
    artery, features = curve_features(aif_hu[:, None], dt_s), curve_features(curves, dt_s)
    smooth = smooth_in_time(curves)
    likeness = [
        _correlation(smooth, _delayed(_dispersed(aif_hu, width_s / dt_s), features.peak_s / dt_s))
        for width_s in _VENOUS_DISPERSION_S
    ]
    venous = torch.stack(likeness).amax(dim=0) >= _SMALLEST_CORRELATION
    venous &= features.arrival_s >= artery.arrival_s + _VENOUS_LAG_S
    venous &= features.roughness <= 2 * _ROUGHNESS_TOLERANCE
    area = torch.where(venous, features.area_hu_s, 0.0)
    chosen = area.topk(min(_VOF_VOXELS, len(area))).indices
    chosen = chosen[area[chosen] > 0]
    if not len(chosen):
        return curves.new_zeros(len(series)), torch.zeros_like(region)
    return curves[:, chosen].mean(dim=1), _voxels(grid, chosen)


def _dispersed(curve: Tensor, width: float) -> Tensor:
    """A curve (T,) after transit times that are exponentially distributed, with a mean of so many frames."""
    frame = torch.arange(len(curve), device=curve.device)
    lag = frame[:, None] - frame
    share = torch.where(lag >= 0, torch.exp(-lag / max(width, 1e-3)), 0.0)
    return (share / share[:, :1].sum()) @ curve


def _delayed(curve: Tensor, peak: Tensor) -> Tensor:
    """A curve (T,) shifted by whole frames so that its peak lies at given frames (N,); returns (T, N)."""
    shift = (peak - curve.argmax()).round().long()
    frame = torch.arange(len(curve), device=curve.device)[:, None] - shift
    return torch.where(frame >= 0, curve[frame.clamp(0, len(curve) - 1)], 0.0)


def _scaled(aif_hu: Tensor, aif_mask: Tensor, vof_hu: Tensor, vof_mask: Tensor, n_baseline: int) -> ArterialInput:
    aif_hu = aif_hu.clamp_min(0)
    aif_hu[: max(n_baseline - 1, 0)] = 0  # noise before the arrival would act as early contrast
    if not float(aif_hu.sum()) > 0:
        raise ValueError(
            f"series must show contrast in an artery, got one that falls from the baseline of {n_baseline} frames on: "
            "the head moved much, or contrast was there from the start"
        )
    ratio = float(vof_hu.sum() / aif_hu.sum().clamp_min(1e-6))
    scale = min(max(ratio, 1.0), _LARGEST_SCALE)
    return ArterialInput(aif_hu * scale, aif_mask, vof_hu, vof_mask, scale)


def _voxels(grid: MaskedGrid, chosen: Tensor) -> Tensor:
    flags = torch.zeros(grid.count, device=grid.mask.device)
    flags[chosen] = 1
    return grid.volume(flags) > 0


def _correlation(curves: Tensor, others: Tensor) -> Tensor:
    """Correlation (N,) of curves (T, N) with other curves (T, N) or (T, 1)."""
    centred, other = curves - curves.mean(dim=0), others - others.mean(dim=0)
    return (other * centred).sum(dim=0) / (centred.norm(dim=0) * other.norm(dim=0)).clamp_min(1e-6)
