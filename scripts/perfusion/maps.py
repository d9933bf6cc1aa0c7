"""Perfusion maps of a raw CT-perfusion series: examination, arterial input, filtered curves, estimate."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .arterial_input import (
    AifSource,
    ArterialInput,
    find_arterial_input,
    given_arterial_input,
    given_voxels,
    vessel_mask,
)
from .bayesian import BayesianEstimator, Posterior
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
) -> PerfusionVolumes:
    """Compute CBF, CBV, MTT, Tmax and TTP of every voxel of the brain.

    CT perfusion resolves about 0.9 mm at best. Where pixels are half as large or smaller, the estimate runs on means of
    as many as make about 0.9 mm, and the maps come back by interpolation.

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

    Raises:
        ValueError: an argument does not fit, or the series has no brain or no contrast in it.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {get_args(Method)}, got {method!r}")
    check_series(series, spacing_mm)
    grid = InPlaneGrid(tuple(series.shape[1:]), spacing_mm)
    source = _source(series, aif, grid)
    examination = examine(
        grid.reduced(series),
        times_s,
        grid.spacing_mm,
        brain=None if brain is None else grid.reduced_mask(brain),
        motion_correction=motion_correction,
    )
    arterial = _arterial_input(examination, source)
    physics: dict[str, Any] = {"density_g_ml": density_g_ml, "hematocrit_factor": hematocrit_factor}
    options = {"threshold": threshold, "oscillation_index": oscillation_index}
    volumes = _estimate(examination, arterial, smoothing_mm, method, physics, options)
    return grid.restored(volumes, brain)


def _source(series: Tensor, aif: AifSource | None, grid: InPlaneGrid) -> Tensor | None:
    """The arterial curve that was given, or the arterial voxels on the grid of the estimate."""
    if aif is None or (isinstance(aif, Tensor) and aif.ndim == 1):
        return aif
    return grid.reduced_vessels(given_voxels(series, aif))


def _arterial_input(examination: Examination, aif: Tensor | None) -> ArterialInput:
    series, times_s, n_baseline = examination.series, examination.times_s, examination.n_baseline
    if aif is None:
        return find_arterial_input(
            series, examination.brain, n_baseline, times_s, examination.spacing_mm, examination.steady
        )
    lost = examination.motion.lost
    if aif.shape == lost.shape:
        aif = aif.to(lost.device)[~lost]
    return given_arterial_input(series, aif, n_baseline)


def _estimate(
    examination: Examination,
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
    curves = filter_curves(series, grid, tissue, outside_vessels, n_baseline, smoothing_mm, spacing_mm)
    if method == "bayesian":
        found = _posterior(curves, arterial, times_s, physics)
        delay = grid.smooth(found.tmax[None], _DELAY_SMOOTHING * smoothing_mm, spacing_mm, tissue)[0]
        found = found._replace(tmax=delay)
    else:
        found = _deconvolved(curves, arterial, examination, method, physics, options)
    flows = ~grid.curves(fluid[None])[0].bool() & (found.cbf > 0)
    ttp, baseline = _of_curves(curves, examination)
    values = [torch.where(flows, value, 0.0) for value in (*found._replace(tmax=found.tmax.clamp_min(0)), ttp)]
    cbf, cbv, mtt, tmax, cbf_sd, cbv_sd, tmax_sd, ttp, baseline = grid.volume(torch.stack([*values, baseline]))
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
        motion_mm=curves.motion[:, :2].norm(dim=1) + _HEAD_RADIUS_MM * curves.motion[:, 2].abs(),
        noise_ratio=curves.noise_ratio,
    )


def _posterior(curves: FilteredCurves, arterial: ArterialInput, times_s: Tensor, physics: dict[str, Any]) -> Posterior:
    estimator = BayesianEstimator(arterial.aif_hu, times_s, **physics)
    estimator.fit_shapes(curves.coefficients, curves.basis, curves.noise_hu)
    return estimator.from_basis(curves.coefficients, curves.basis, curves.noise_hu)


def _deconvolved(
    curves: FilteredCurves,
    arterial: ArterialInput,
    examination: Examination,
    method: Deconvolution,
    physics: dict[str, Any],
    options: dict[str, Any],
) -> Posterior:
    """The maps by singular values, which need even frames: the curves are interpolated where theirs are not."""
    times_s = examination.times_s
    wanted_s = even_times(times_s)
    enhancement = curves.enhancement(examination.n_baseline)
    given = {name: value for name, value in options.items() if value is not None}
    found = deconvolve(
        _interpolated(enhancement, times_s, wanted_s).T,
        _interpolated(arterial.aif_hu[:, None], times_s, wanted_s)[:, 0],
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


def _of_curves(curves: FilteredCurves, examination: Examination) -> tuple[Tensor, Tensor]:
    """Time to peak in s and attenuation before contrast in HU of the filtered curves, (N,) each."""
    common, vectors = (part.reshape(len(part), -1) for part in curves.basis)
    before = slice(examination.n_baseline)
    baseline = curves.level + common[before].mean() + vectors[before].mean(dim=0) @ curves.coefficients
    smooth = smooth_in_time(torch.cat([common, vectors], dim=1))
    peaks = [  # `max` is twice as fast as `argmax`
        (smooth[:, :1] + smooth[:, 1:] @ part).max(dim=0).indices
        for part in curves.coefficients.split(_VOXELS_AT_ONCE, dim=1)
    ]
    return examination.times_s[torch.cat(peaks)], baseline
