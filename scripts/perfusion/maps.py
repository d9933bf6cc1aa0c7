"""Perfusion maps of a raw CT-perfusion series: examination, arterial input, filtered curves, estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from .arterial_input import (
    AifSource,
    ArterialInput,
    arterial_at,
    find_arterial_input,
    given_arterial_input,
    given_voxels,
    vessel_mask,
)
from .bayesian import BayesianEstimator, Posterior, fit_shapes
from .brain import check_series, fluid_mask
from .curve_features import smooth_in_time
from .deconvolution import Method as Deconvolution
from .deconvolution import deconvolve
from .enhancement import Times
from .examination import Examination, even_times, examine, median_interval_s
from .filters import DEFAULT_SMOOTHING_MM, FilteredCurves, filter_curves
from .frames import mean_over_time
from .in_plane import InPlaneGrid
from .masked_grid import MaskedGrid, Spacing
from .slice_timing import Slab, frame_and_slice_times, slabs
from .volumes import PerfusionVolumes

Method = Literal["bayesian", "osvd", "bcsvd", "ssvd"]

_FLUID_SMOOTHING_MM = 1.0
_DELAY_SMOOTHING = 0.7  # of the smoothing: delay changes from territory to territory, not from voxel to voxel; a choice
_HEAD_RADIUS_MM = 70.0
_VOXELS_AT_ONCE = 16384


def perfusion_maps(
    series: Tensor,
    times_s: Times,
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
    *,
    aif: AifSource | None = None,
    brain: Tensor | None = None,
    motion_correction: bool = True,
    smoothing_mm: float = DEFAULT_SMOOTHING_MM,
    method: Method = "bayesian",
    threshold: float | None = None,
    oscillation_index: float | None = None,
    density_g_ml: float = 1.04,
    hematocrit_factor: float = 0.733,
    slice_times_s: Tensor | Sequence[Sequence[float]] | None = None,
) -> PerfusionVolumes:
    """Compute CBF, CBV, MTT, Tmax and TTP of every voxel of the brain.

    CT perfusion resolves about 0.9 mm at best. Where pixels are half as large or smaller, the estimate runs on means of
    as many as make about 0.9 mm, and the maps come back by interpolation.

    Where slices have times of their own, those that share them are filtered and estimated together at these times; the
    arterial curve is evaluated for each by its spline. All delays and times to peak are on one clock.

    Args:
        series: (T, H, W, D) in HU, slices last.
        times_s: time between frames in s, or the time of every frame.
        spacing_mm: voxel size along H, W and D.
        aif: the arterial enhancement curve, one value for each frame of the series, a mask (H, W, D) or the indices of
            an arterial voxel; found by itself if None.
        brain: boolean (H, W, D); found by itself if None.
        motion_correction: align the frames of a head that moved, see `examine`; without it, movements smaller than the
            smoothing are still taken out of the curves, see `remove_residual_motion`.
        smoothing_mm: standard deviation of the neighborhood that smooths the slices within the brain, see
            `filter_curves`; 0 for none.
        method: ``"bayesian"`` (see `BayesianEstimator`), or a deconvolution by truncated singular values (see
            `deconvolve`): ``"osvd"``, ``"bcsvd"``, ``"ssvd"``.
        threshold: of `deconvolve`, as the argument that follows.
        oscillation_index: of `deconvolve`; its default if None.
        density_g_ml: density of brain tissue.
        hematocrit_factor: see `deconvolve`.
        slice_times_s: (D, T), when each slice of each frame was taken, s; their means are then the times of the frames.
            None if the slices of a frame were taken at once.

    Raises:
        ValueError: an argument does not fit, or the series has no brain or no contrast in it.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {get_args(Method)}, got {method!r}")
    check_series(series, spacing_mm)
    grid = InPlaneGrid(tuple(series.shape[1:]), spacing_mm)
    source = _source(series, aif, grid)
    frames_s, of_slices = frame_and_slice_times(times_s, slice_times_s, series.shape[3], len(series))
    of_slices = None if of_slices is None else of_slices.to(series.device)
    examination = examine(
        grid.reduced(series),
        times_s if of_slices is None else frames_s,
        grid.spacing_mm,
        brain=None if brain is None else grid.reduced_mask(brain),
        motion_correction=motion_correction,
    )
    kept = None if of_slices is None else of_slices[:, ~examination.motion.lost]
    arterial = _arterial_input(examination, source, kept)
    physics: dict[str, Any] = {"density_g_ml": density_g_ml, "hematocrit_factor": hematocrit_factor}
    options = {"threshold": threshold, "oscillation_index": oscillation_index}
    timed = [Slab(slice(None), examination.times_s)] if kept is None else slabs(kept)
    volumes = _estimate(examination, timed, arterial, smoothing_mm, method, physics, options)
    return grid.restored(volumes._replace(slice_times_s=of_slices), brain)


def _source(series: Tensor, aif: AifSource | None, grid: InPlaneGrid) -> Tensor | None:
    """The arterial curve that was given, or the arterial voxels on the grid of the estimate."""
    if aif is None or (isinstance(aif, Tensor) and aif.ndim == 1):
        return aif
    return grid.reduced_vessels(given_voxels(series, aif))


def _arterial_input(examination: Examination, aif: Tensor | None, slice_times_s: Tensor | None) -> ArterialInput:
    series, times_s, n_baseline = examination.series, examination.times_s, examination.n_baseline
    if aif is None:
        return find_arterial_input(
            series, examination.brain, n_baseline, times_s, examination.spacing_mm, examination.steady, slice_times_s
        )
    lost = examination.motion.lost
    if aif.shape == lost.shape:
        aif = aif.to(lost.device)[~lost]
    return given_arterial_input(series, aif, n_baseline, slice_times_s)


class _Part(NamedTuple):
    """Slices with the same times, and their filtered curves."""

    slab: Slab
    grid: MaskedGrid
    tissue: Tensor
    """Boolean (H, W, d)."""
    n_baseline: int
    curves: FilteredCurves


def _estimate(
    examination: Examination,
    timed: Sequence[Slab],
    arterial: ArterialInput,
    smoothing_mm: float,
    method: Method,
    physics: dict[str, Any],
    options: dict[str, Any],
) -> PerfusionVolumes:
    series, times_s, spacing_mm = examination.series, examination.times_s, examination.spacing_mm
    brain, n_baseline = examination.brain, examination.n_baseline
    grid = MaskedGrid(brain)
    outside_vessels = brain & ~vessel_mask(series, grid, arterial, n_baseline, times_s, spacing_mm)
    unenhanced = grid.curves(mean_over_time(series[:n_baseline])[None], _FLUID_SMOOTHING_MM, spacing_mm)[0]
    fluid = fluid_mask(grid.volume(unenhanced), outside_vessels)
    tissue = outside_vessels & ~fluid
    parts = [
        _filtered(examination, slab, tissue, outside_vessels, smoothing_mm) for slab in timed if slab.of(brain).any()
    ]
    if method == "bayesian":
        posteriors = _posteriors(parts, arterial, times_s, physics)
    else:
        posteriors = [_deconvolved(part, arterial, times_s, method, physics, options) for part in parts]
    volumes = series.new_zeros((len(Posterior._fields) + 2, *brain.shape), dtype=torch.float32)
    for part, found in zip(parts, posteriors, strict=True):
        if method == "bayesian":
            sigma_mm = _DELAY_SMOOTHING * smoothing_mm
            delay = part.grid.smooth(found.tmax[None], sigma_mm, spacing_mm, part.tissue)[0]
            found = found._replace(tmax=delay)
        flows = ~part.grid.curves(part.slab.of(fluid)[None])[0].bool() & (found.cbf > 0)
        ttp, baseline = _of_curves(part)
        values = [torch.where(flows, value, 0.0) for value in (*found._replace(tmax=found.tmax.clamp_min(0)), ttp)]
        volumes[..., part.slab.slices] = part.grid.volume(torch.stack([*values, baseline]))
    cbf, cbv, mtt, tmax, cbf_sd, cbv_sd, tmax_sd, ttp, baseline = volumes
    has_sd = method == "bayesian"
    return PerfusionVolumes(
        cbf=cbf,
        cbv=cbv,
        mtt=mtt,
        tmax=tmax,
        ttp=ttp,
        cbf_sd=cbf_sd if has_sd else None,
        cbv_sd=cbv_sd if has_sd else None,
        tmax_sd=tmax_sd if has_sd else None,
        baseline=baseline,
        brain=brain,
        tissue=tissue,
        arterial=arterial,
        n_baseline=n_baseline,
        times_s=times_s,
        series_times_s=examination.series_times_s,
        dt_s=median_interval_s(times_s),
        motion=examination.motion,
        **_of_all(parts),
    )


def _filtered(
    examination: Examination, slab: Slab, tissue: Tensor, outside_vessels: Tensor, smoothing_mm: float
) -> _Part:
    """The filtered curves of slices that share their times."""
    baseline_end_s = examination.times_s[examination.n_baseline - 1]
    n_baseline = max(1, int((slab.times_s <= baseline_end_s).sum()))
    tissue, outside_vessels = slab.of(tissue), slab.of(outside_vessels)
    grid = MaskedGrid(slab.of(examination.brain))
    curves = filter_curves(
        slab.of(examination.series), grid, tissue, outside_vessels, n_baseline, smoothing_mm, examination.spacing_mm
    )
    return _Part(slab, grid, tissue, n_baseline, curves)


def _of_all(parts: Sequence[_Part]) -> dict[str, Any]:
    """Residual motion (T,) in mm and noise ratio, means over the voxels."""
    count = sum(part.grid.count for part in parts)
    motion_mm, noise_ratio = torch.zeros_like(parts[0].slab.times_s), 0.0
    for part in parts:
        share, motion = part.grid.count / count, part.curves.motion
        motion_mm += share * (motion[:, :2].norm(dim=1) + _HEAD_RADIUS_MM * motion[:, 2].abs())
        noise_ratio += share * part.curves.noise_ratio
    return {"motion_mm": motion_mm, "noise_ratio": noise_ratio}


def _posteriors(
    parts: Sequence[_Part], arterial: ArterialInput, times_s: Tensor, physics: dict[str, Any]
) -> list[Posterior]:
    aif_hu, aif_times_s = arterial.sampled or (arterial.aif_hu, times_s)
    estimators = [BayesianEstimator(aif_hu, part.slab.times_s, aif_times_s=aif_times_s, **physics) for part in parts]
    seen = [(part.curves.coefficients, part.curves.basis, part.curves.noise_hu) for part in parts]
    fit_shapes([(estimator, *curves) for estimator, curves in zip(estimators, seen, strict=True)])
    return [estimator.from_basis(*curves) for estimator, curves in zip(estimators, seen, strict=True)]


def _deconvolved(
    part: _Part,
    arterial: ArterialInput,
    times_s: Tensor,
    method: Deconvolution,
    physics: dict[str, Any],
    options: dict[str, Any],
) -> Posterior:
    """The maps by singular values, which need even frames: the curves are interpolated where theirs are not.

    The interval is that of the frames: those of slices of a table that goes up and down alternate about it.
    """
    own_s = part.slab.times_s
    wanted_s = even_times(times_s) + (own_s - times_s).mean()
    enhancement = part.curves.enhancement(part.n_baseline)
    given = {name: value for name, value in options.items() if value is not None}
    if arterial.sampled is None and torch.equal(own_s, times_s):
        aif_hu = _interpolated(arterial.aif_hu[:, None], times_s, wanted_s)[:, 0]
    else:
        aif_hu = arterial_at(wanted_s, *(arterial.sampled or (arterial.aif_hu, times_s)))
    found = deconvolve(
        _interpolated(enhancement, own_s, wanted_s).T,
        aif_hu,
        median_interval_s(times_s),
        method=method,
        **given,
        **physics,
    )
    nothing = torch.zeros_like(found.cbf)
    return Posterior(found.cbf, found.cbv, found.mtt, found.tmax, nothing, nothing, nothing)


def _interpolated(curves: Tensor, times_s: Tensor, wanted_s: Tensor) -> Tensor:
    """Curves (T, N) at other times within theirs, by lines between the frames."""
    after = torch.searchsorted(times_s, wanted_s).clamp(1, len(times_s) - 1)
    share = (wanted_s - times_s[after - 1]) / (times_s[after] - times_s[after - 1])
    return torch.lerp(curves[after - 1], curves[after], share.clamp(0, 1)[:, None])


def _of_curves(part: _Part) -> tuple[Tensor, Tensor]:
    """Time to peak in s and attenuation before contrast in HU of the filtered curves, (N,) each."""
    curves = part.curves
    common, vectors = (values.reshape(len(values), -1) for values in curves.basis)
    before = slice(part.n_baseline)
    baseline = curves.level + common[before].mean() + vectors[before].mean(dim=0) @ curves.coefficients
    smooth = smooth_in_time(torch.cat([common, vectors], dim=1))
    peaks = [  # `max` is twice as fast as `argmax`
        (smooth[:, :1] + smooth[:, 1:] @ some).max(dim=0).indices
        for some in curves.coefficients.split(_VOXELS_AT_ONCE, dim=1)
    ]
    return part.slab.times_s[torch.cat(peaks)], baseline
