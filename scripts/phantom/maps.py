"""Perfusion maps of the noisy series as vendor software computes them."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..perfusion.deconvolution import Method, PerfusionMaps, deconvolve
from .acquisition import Series
from .anatomy import Anatomy
from .hemodynamics import HEMATOCRIT_FACTOR, TISSUE_DENSITY_G_ML
from .parameters import VendorParameters
from .wiener import wiener_deconvolve

_AIF_VOXELS = 8
_VOF_VOXELS = 12
_ARRIVAL_SHARE = 0.15  # of the arterial peak
_LARGEST_VENOUS_CORRECTION = 15.0
_TOLERATED_UNDERESTIMATE = 1.3  # a vendor without venous correction picks another artery when it is worse
_VESSEL_SHARE = 0.3  # of the arterial peak
_FLUID_LIMIT_HU = 18.0
_BONE_LIMIT_HU = 110.0
_SMALLEST_SMOOTHING_PX = 1.2  # matrices below 256 have larger pixels with the same noise
_SMALLEST_WEIGHT = 0.02  # of the smoothing kernel; less is no measurement


class VendorMaps(NamedTuple):
    """Maps of a scan, float32 (H, W, D), zero outside the brain, and their arterial input.

    Attributes:
        cbf: ml/100 g/min.
        cbv: ml/100 g.
        mtt: s.
        tmax: s.
        aif_mask: bool (H, W, D), voxels of the arterial input function.
        aif_hu: (T,) arterial enhancement after all corrections.
    """

    cbf: NDArray[np.float32]
    cbv: NDArray[np.float32]
    mtt: NDArray[np.float32]
    tmax: NDArray[np.float32]
    aif_mask: NDArray[np.bool_]
    aif_hu: NDArray[np.float32]


def compute_vendor_maps(
    series: Series, anatomy: Anatomy, vendor: VendorParameters, spacing_mm: NDArray[np.floating]
) -> VendorMaps:
    """Make the maps of a series.

    Args:
        series: the scan.
        anatomy: the vendor's segmentation of brain and vessels, taken as known.
        vendor: smoothing, deconvolution, calibration and limits.
        spacing_mm: (3,) voxel size.
    """
    brain = anatomy.brain
    frame_interval_s = float(series.frame_times_s[1] - series.frame_times_s[0])
    if not brain.any():
        empty = np.zeros(brain.shape, dtype=np.float32)
        return VendorMaps(empty, empty, empty, empty, np.zeros_like(brain), series.clean_arterial_hu * 0)
    box = _bounding_box(brain)
    raw = series.hu[(slice(None), *box)].astype(np.float32)
    arrival = _arrival_frame(series.clean_arterial_hu)
    brain_box = brain[box]
    aif_voxels = _arterial_voxels(raw, arrival, series.blood[box] * brain_box, brain_box)
    aif_hu = _arterial_input(raw, arrival, aif_voxels, anatomy.vein[box], vendor, series.frame_times_s)

    sigma_px = max(vendor.smoothing_mm / float(spacing_mm[0]), _SMALLEST_SMOOTHING_PX)
    tissue_box = brain_box & ~_bright_vessels(raw, arrival, aif_hu) if vendor.hides_vessels else brain_box
    smooth, weights = _smooth_within(raw, tissue_box, sigma_px)
    base_hu = smooth[:arrival].mean(axis=0)
    mask = brain_box & (base_hu < _BONE_LIMIT_HU) & (weights > _SMALLEST_WEIGHT)
    if vendor.hides_fluid:
        mask &= base_hu > _FLUID_LIMIT_HU
    curves = np.ascontiguousarray((smooth[:, mask] - base_hu[mask]).T)
    if vendor.time_smoothing_frames > 0:
        curves = ndimage.gaussian_filter1d(curves, vendor.time_smoothing_frames, axis=1, mode="nearest")
    result = _deconvolve(torch.from_numpy(curves), torch.from_numpy(aif_hu), frame_interval_s, vendor)
    cbf, cbv, tmax = (
        _on_grid(values.numpy() * scale, mask, vendor.map_smoothing_mm / float(spacing_mm[0]))
        for values, scale in (
            (result.cbf, vendor.scale_error),
            (result.cbv, vendor.scale_error),
            (result.tmax.clamp_min(0.0), 1.0),
        )
    )
    mtt = np.divide(60.0 * cbv, cbf, out=np.zeros_like(cbf), where=cbf > 0)

    def full(values: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
        whole = np.zeros(brain.shape, dtype=np.float32)
        whole[box] = np.clip(values, 0.0, limit)
        return whole

    aif_mask = np.zeros_like(brain)
    aif_mask[box] = aif_voxels
    return VendorMaps(
        full(cbf, vendor.cbf_limit_ml_100g_min),
        full(cbv, vendor.cbv_limit_ml_100g),
        full(mtt, vendor.mtt_limit_s),
        full(tmax, vendor.tmax_limit_s),
        aif_mask,
        aif_hu,
    )


def _deconvolve(curves: Tensor, aif: Tensor, dt_s: float, vendor: VendorParameters) -> PerfusionMaps:
    """Maps of (N, T) curves by the vendor's method."""
    rho, k_h = TISSUE_DENSITY_G_ML, HEMATOCRIT_FACTOR
    if vendor.method == "wiener":
        noise = vendor.regularization
        return wiener_deconvolve(curves, aif, dt_s, noise, density_g_ml=rho, hematocrit_factor=k_h)
    method = cast(Method, vendor.method)  # `deconvolve` refuses another
    least = None if method == "osvd" else vendor.regularization
    return deconvolve(curves, aif, dt_s, method=method, threshold=least, density_g_ml=rho, hematocrit_factor=k_h)


def _bounding_box(mask: NDArray[np.bool_], margin: int = 4) -> tuple[slice, slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
        slice(None),
    )


def _arrival_frame(arterial_hu: NDArray[np.floating]) -> int:
    """The number of frames before contrast arrives, at least one."""
    return max(1, int(np.argmax(arterial_hu > _ARRIVAL_SHARE * arterial_hu.max())) - 1)


def _arterial_voxels(
    raw: NDArray[np.float32], arrival: int, blood: NDArray[np.float32], brain: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The arterial voxels with the largest enhancement; brain voxels if no large artery crosses the slab."""
    candidates = np.flatnonzero(blood > 0.4 * blood.max()) if blood.max() > 0.1 else np.flatnonzero(brain)
    curves = raw.reshape(len(raw), -1)[:, candidates]
    enhancement = np.sort(curves, axis=0)[-5:].mean(axis=0) - curves[:arrival].mean(axis=0)
    chosen = candidates[np.argsort(enhancement, kind="stable")[-_AIF_VOXELS:]]
    voxels = np.zeros(blood.size, dtype=bool)
    voxels[chosen] = True
    return voxels.reshape(blood.shape)


def _arterial_input(
    raw: NDArray[np.float32],
    arrival: int,
    voxels: NDArray[np.bool_],
    vein: NDArray[np.float32],
    vendor: VendorParameters,
    times_s: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Mean enhancement of the arterial voxels, shifted in time and scaled to the venous area as by the vendor."""
    curve = raw[:, voxels].mean(axis=1)
    curve = (curve - curve[:arrival].mean()) * vendor.aif_partial_volume
    if vein.max() > 0.5:
        largest = np.argsort(vein.reshape(-1), kind="stable")[-_VOF_VOXELS:]
        venous = raw.reshape(len(raw), -1)[:, largest].mean(axis=1)
        area = float((venous - venous[:arrival].mean()).sum()) / max(float(curve.sum()), 1e-3)
        tolerated = 1.0 if vendor.venous_correction else _TOLERATED_UNDERESTIMATE
        curve = curve * np.clip(area / tolerated, 1.0, _LARGEST_VENOUS_CORRECTION)
    curve = np.interp(times_s - vendor.aif_timing_error_s, times_s, curve)
    curve[0:arrival] *= 0.2  # noise before arrival would act as early contrast
    return np.maximum(curve, 0.0).astype(np.float32)


def _bright_vessels(raw: NDArray[np.float32], arrival: int, aif_hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels that enhance like vessels; tissue does not reach a tenth of the arterial peak."""
    enhancement = raw.max(axis=0) - raw[:arrival].mean(axis=0)
    return enhancement > _VESSEL_SHARE * aif_hu.max()


def _smooth_within(
    frames: NDArray[np.float32], mask: NDArray[np.bool_], sigma_px: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """In-plane Gaussian smoothing of (T, H, W, D) or (H, W, D) within ``mask``.

    Returns:
        The smooth frames, and (H, W, D) the fraction of the kernel inside the mask at each voxel.
    """
    axes = (frames.ndim - 3, frames.ndim - 2)
    weights = ndimage.gaussian_filter(mask.astype(np.float32), (sigma_px, sigma_px, 0.0), truncate=2.5)
    smooth = frames * mask
    for axis in axes:
        smooth = ndimage.gaussian_filter1d(smooth, sigma_px, axis=axis, truncate=2.5)
    return np.divide(smooth, weights, out=smooth, where=weights > _SMALLEST_WEIGHT), weights


def _on_grid(values: NDArray[np.floating], mask: NDArray[np.bool_], sigma_px: float) -> NDArray[np.float32]:
    volume = np.zeros(mask.shape, dtype=np.float32)
    volume[mask] = values
    return _smooth_within(volume, mask, sigma_px)[0] * mask
