"""Perfusion maps of a raw CT-perfusion series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .alike import smooth_alike
from .arterial_input import AifSource, ArterialInput, find_arterial_input, given_arterial_input, vessel_mask
from .brain import away_from_bone, brain_mask, check_series, fluid_mask
from .curve_features import smooth_in_time
from .deconvolution import Method, deconvolve
from .denoising import from_basis, height, principal_curves, to_basis
from .enhancement import arrival_frame, even_frames, noise_to_peak, subtract_baseline
from .frames import mean_over_time
from .guided import guided_smooth, tissue_guide
from .motion import correct_motion
from .residual_motion import remove_residual_motion
from .smoothing import MaskedGrid, Spacing
from .tissue_models import TissueModels

DEFAULT_SMOOTHING_MM = 3.5
_BASIS_SMOOTHING_MM = 2.0
_GUIDE_SMOOTHING_MM = 2.0  # at least
_AMOUNT_SMOOTHING = 0.5  # of the smoothing
_ALIKE = 0.15  # of the mean curve's height
_FLUID_SMOOTHING_MM = 1.0
_HEAD_RADIUS_MM = 70.0


class PerfusionVolumes(NamedTuple):
    """Maps of an examination and what they were made from; tensors on the device of the series.

    The maps are float32 (H, W, D), zero outside the brain and in fluid. Large vessels show what tissue surrounds them.
    """

    cbf: Tensor
    """Cerebral blood flow, ml/100 g/min."""
    cbv: Tensor
    """Cerebral blood volume, by models (`TissueModels`), ml/100 g."""
    mtt: Tensor
    """Mean transit time, CBV over CBF, s."""
    tmax: Tensor
    """Time at which the residue function is largest, by models (`TissueModels`), s; not below 0."""
    ttp: Tensor
    """Time from the first frame to the peak of the tissue curve, s."""
    baseline: Tensor
    """Attenuation before contrast, smoothed, HU."""
    brain: Tensor
    """Boolean (H, W, D)."""
    tissue: Tensor
    """Boolean (H, W, D): the brain without its vessels and fluid spaces, what statistics are made of."""
    arterial: ArterialInput
    """The arterial input and venous output functions."""
    n_baseline: int
    """Frames before contrast arrives."""
    dt_s: float
    """Time between the frames of the curves, s."""
    motion_mm: Tensor
    """(T,) displacement of each frame at the surface of the brain, what is left of it after a motion correction."""
    noise_ratio: float
    """Noise of the smoothed curves over the peak of their mean."""


def perfusion_maps(
    series: Tensor,
    dt_s: float | Sequence[float],
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
    *,
    aif: AifSource | None = None,
    brain: Tensor | None = None,
    motion_correction: bool = False,
    smoothing_mm: float = DEFAULT_SMOOTHING_MM,
    method: Method = "osvd",
    threshold: float | None = None,
    oscillation_index: float = 0.1,
    density_g_ml: float = 1.04,
    hematocrit_factor: float = 0.733,
) -> PerfusionVolumes:
    """Compute CBF, CBV, MTT, Tmax and TTP of every voxel of the brain.

    Args:
        series: (T, H, W, D) in HU.
        dt_s: time between frames in s, or the time of every frame; uneven frames are resampled.
        spacing_mm: voxel size along H, W and D.
        aif: the arterial enhancement curve (T,), a mask (H, W, D) or the indices of an arterial voxel; found by itself
            if None. A curve belongs to evenly spaced frames.
        brain: boolean (H, W, D); found by itself if None.
        motion_correction: align the frames first, see `correct_motion`; without it, movements smaller than the
            smoothing are still taken out of the curves, see `remove_residual_motion`.
        smoothing_mm: standard deviation of the neighbourhood that smooths the slices within the brain along the
            anatomy, see `guided_smooth`; 0 for none.
        method: see `deconvolve`, as the arguments that follow.
        threshold: see `deconvolve`.
        oscillation_index: see `deconvolve`.
        density_g_ml: see `deconvolve`.
        hematocrit_factor: see `deconvolve`.

    Raises:
        ValueError: an argument does not fit, or the series has no brain or no contrast in it.
    """
    check_series(series, spacing_mm)
    if motion_correction:  # before frames are mixed to even their times
        series, _ = correct_motion(series, spacing_mm)
    series, interval_s = even_frames(series, dt_s)
    brain = brain_mask(series, spacing_mm) if brain is None else _given_brain(brain, series)
    if not brain.any():
        raise ValueError("series must show a brain, got no region of soft tissue (-5 to 110 HU) that could be one")
    steady = brain & away_from_bone(series, spacing_mm)
    n_baseline = arrival_frame(series, steady if steady.any() else brain, interval_s)
    if aif is None:
        arterial = find_arterial_input(series, brain, n_baseline, interval_s, spacing_mm)
    else:
        arterial = given_arterial_input(series, aif, n_baseline)
    grid = MaskedGrid(brain)
    vessels = vessel_mask(series, grid, arterial, n_baseline, interval_s, spacing_mm)
    outside_vessels = brain & ~vessels
    unenhanced = grid.curves(mean_over_time(series[:n_baseline])[None], _FLUID_SMOOTHING_MM, spacing_mm)[0]
    fluid = fluid_mask(grid.volume(unenhanced), outside_vessels)
    tissue = outside_vessels & ~fluid
    smooth = grid.curves(series, _BASIS_SMOOTHING_MM, spacing_mm, source=tissue)
    noise_ratio = noise_to_peak(smooth, n_baseline)
    motion = remove_residual_motion(smooth, grid, n_baseline, spacing_mm)
    basis = principal_curves(smooth)
    del smooth
    curves = grid.curves(series)
    coefficients, level = to_basis(curves, basis)
    guide_hu = tissue_guide(grid, level, max(smoothing_mm, _GUIDE_SMOOTHING_MM), spacing_mm, outside_vessels)

    def along_anatomy(values: Tensor, share: float = 1.0) -> Tensor:
        return guided_smooth(grid, values, guide_hu, share * smoothing_mm, spacing_mm, outside_vessels)

    amount = along_anatomy(height(coefficients, basis)[None], _AMOUNT_SMOOTHING)[0]
    alike = smooth_alike(grid, coefficients, amount, _ALIKE, smoothing_mm, spacing_mm, outside_vessels)
    models = TissueModels(alike, basis, arterial.aif_hu, interval_s)
    tmax = grid.smooth(models.tmax(alike)[None], smoothing_mm, spacing_mm, tissue)[0]
    coefficients = along_anatomy(coefficients)
    from_basis(coefficients, level, basis, out=curves)
    baseline = subtract_baseline(curves, n_baseline)
    cbf = deconvolve(
        curves.T,
        arterial.aif_hu,
        interval_s,
        method=method,
        threshold=threshold,
        oscillation_index=oscillation_index,
        density_g_ml=density_g_ml,
        hematocrit_factor=hematocrit_factor,
    ).cbf
    cbv = 100 * hematocrit_factor / density_g_ml * models.blood_volume(coefficients)
    mtt = torch.where(cbf > 0, 60 * cbv / cbf, 0.0)
    ttp = smooth_in_time(curves).max(dim=0).indices * interval_s  # twice as fast as argmax
    flows = ~grid.curves(fluid[None])[0].bool() & (cbf > 0)
    values = [torch.where(flows, value, 0.0) for value in (cbf, cbv, mtt, tmax, ttp)]
    cbf, cbv, mtt, tmax, ttp, baseline = grid.volume(torch.stack([*values, baseline]))
    motion_mm = motion[:, :2].norm(dim=1) + _HEAD_RADIUS_MM * motion[:, 2].abs()
    return PerfusionVolumes(
        cbf=cbf,
        cbv=cbv,
        mtt=mtt,
        tmax=tmax,
        ttp=ttp,
        baseline=baseline,
        brain=brain,
        tissue=tissue,
        arterial=arterial,
        n_baseline=n_baseline,
        dt_s=interval_s,
        motion_mm=motion_mm,
        noise_ratio=noise_ratio,
    )


def _given_brain(brain: Tensor, series: Tensor) -> Tensor:
    if tuple(brain.shape) != tuple(series.shape[1:]):
        raise ValueError(f"brain must have shape {tuple(series.shape[1:])}, got {tuple(brain.shape)}")
    return (brain != 0).to(series.device)
