"""One case of the phantom, whose truth is known: how near its maps and its arterial input come to it."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.perfusion import PerfusionVolumes, check_quality, perfusion_maps, read_maps
from scripts.perfusion.curve_features import curve_features
from scripts.perfusion.masked_grid import Spacing
from scripts.phantom.case import PhantomCase, sample_patient, sample_scan, simulate_case
from scripts.phantom.parameters import FIELD_OF_VIEW_PIXELS, ScanParameters
from scripts.report.scales import MAPS as SCALES

from ..plots import plot_maps
from .movement import moved

MAPS = ("cbf", "cbv", "tmax")
REGIONS = ("tissue", "tissue and vessels", "brain")
DELAY_S = 6.0
NOISE_HU = 3.0
ARTERIAL_SHARE = 0.1  # of a voxel's volume, from which on it counts as arterial
_VESSEL_SHARE = 0.05
_FLOWS = 1.0  # ml/100 g/min; fluid has none
_FEWEST_ML = 1.0


class Examination(NamedTuple):
    """A case as a scanner would deliver it, with what the phantom knows."""

    case: PhantomCase
    series: Tensor
    """(T, H, W, D) in HU, in the memory order of a NIfTI file."""
    dt_s: float
    spacing_mm: Spacing


def examine(
    seed: int,
    noise_hu: float,
    matrix: int = FIELD_OF_VIEW_PIXELS,
    change: Callable[[ScanParameters], ScanParameters] = lambda scan: scan,
) -> Examination:
    """Simulate the patient and the scan of a seed, with a given noise and with what else is changed of the scan."""
    patient = sample_patient(np.random.SeedSequence(seed, spawn_key=(0,)))
    scan = sample_scan(np.random.SeedSequence(seed, spawn_key=(1,)))
    scan = change(replace(scan, acquisition=replace(scan.acquisition, noise_hu=noise_hu)))
    case = simulate_case(patient, scan, matrix)
    stored = np.asfortranarray(case.series.hu.transpose(1, 2, 3, 0).astype(np.float32))
    size = case.grid.spacing_mm
    return Examination(
        case,
        torch.from_numpy(stored).permute(3, 0, 1, 2),
        scan.acquisition.frame_interval_s,
        (float(size[0]), float(size[1]), float(size[2])),
    )


def evaluate_seed(seed: int, noise_hu: float, with_motion: bool, matrix: int = FIELD_OF_VIEW_PIXELS) -> dict[str, Any]:
    """The row of a seed: what the case is, and every number of the page.

    Args:
        seed: of patient and scan.
        noise_hu: standard deviation of the noise.
        with_motion: measure the motion correction too, which takes three times as long.
        matrix: pixels along each side of a slice.
    """
    examination = examine(seed, noise_hu, matrix)
    case, series, dt_s, spacing_mm = examination
    scan = case.description["scan"]
    row: dict[str, Any] = {
        "seed": seed,
        "slices": series.shape[3],
        "frames": len(series),
        "dt_s": dt_s,
        "skull": not scan["acquisition"]["skull_stripped"],
        "orientation": scan["grid"]["orientation"],
        "bolus_hu": round(scan["bolus"]["peak_hu"], 1),
    }
    start = time.process_time()
    try:
        maps = perfusion_maps(series, dt_s, spacing_mm)
    except ValueError as error:  # a case that fails is a result, too
        return row | {"error": str(error)}
    row["seconds"] = round(time.process_time() - start, 2)
    row |= agreement(maps, case) | reading_agreement(maps, case) | calibration(maps, case)
    row |= arterial_agreement(maps, case)
    row["warnings"] = " ".join(warning.name for warning in check_quality(series, maps, spacing_mm))
    return row | (motion_effect(examination, maps, seed) if with_motion else {})


def true_tissue(case: PhantomCase) -> NDArray[np.bool_]:
    """Boolean (H, W, D): where the true flow is above 1 ml/100 g/min and vessels fill little of the voxel."""
    truth = case.truth
    return truth["brain"] & (truth["cbf"] > _FLOWS) & (truth["vessels"] < _VESSEL_SHARE)


def agreement(maps: PerfusionVolumes, case: PhantomCase) -> dict[str, float]:
    """Correlation and ratio of medians of each map in each region, and Dice of the delayed tissue.

    Tissue is where the true flow is above 1 ml/100 g/min and vessels fill less than a twentieth of the voxel; the brain
    holds the fluid, too, where the true delay goes on as if there were tissue.
    """
    truth = case.truth
    flows = truth["brain"] & (truth["cbf"] > _FLOWS)
    inside = (true_tissue(case), flows, truth["brain"])
    row: dict[str, float] = {}
    for region, mask in zip(REGIONS, inside, strict=True):
        for name in MAPS:
            found = getattr(maps, name).numpy()[mask]
            row[f"{name} r, {region}"] = round(float(np.corrcoef(found, truth[name][mask])[0, 1]), 4)
    for name in MAPS:
        ratio = np.median(getattr(maps, name).numpy()[inside[0]]) / np.median(truth[name][inside[0]])
        row[f"{name} ratio"] = round(float(ratio), 4)
    delayed = inside[0] & (truth["tmax"] > DELAY_S)
    found_delayed = (maps.tissue & (maps.tmax > DELAY_S)).numpy()
    row["delayed_ml"] = round(float(delayed.sum()) * case.grid.voxel_volume_ml, 2)
    row["found_delayed_ml"] = round(float(found_delayed.sum()) * case.grid.voxel_volume_ml, 2)
    if row["delayed_ml"] >= _FEWEST_ML:
        overlap = 2 * float((delayed & found_delayed).sum())
        row["delay dice"] = round(overlap / float(delayed.sum() + found_delayed.sum()), 4)
    return row


def reading_agreement(maps: PerfusionVolumes, case: PhantomCase) -> dict[str, float]:
    """Core and hypoperfusion intensity ratio of the computed and of the true maps, read by the same rule.

    A number that a reading withholds is left out.
    """
    affine = torch.from_numpy(case.grid.affine)
    x, y, z = (float(size) for size in case.grid.spacing_mm)
    cbf, cbv, tmax = (torch.from_numpy(case.truth[name]).float() for name in MAPS)
    tissue = torch.from_numpy(true_tissue(case))
    true, true_core, _ = read_maps(cbf, cbv, tmax, tissue, affine, (x, y, z))
    found, found_core, _ = read_maps(maps.cbf, maps.cbv, maps.tmax, maps.tissue, affine, (x, y, z))
    row = {
        "core_ml": true.core_ml,
        "found_core_ml": found.core_ml,
        "hir": true.hypoperfusion_intensity_ratio,
        "found_hir": found.hypoperfusion_intensity_ratio,
    }
    row = {name: round(value, 4) for name, value in row.items() if value is not None and math.isfinite(value)}
    if row.get("core_ml", 0.0) >= _FEWEST_ML:
        both = int(true_core.sum()) + int(found_core.sum())
        row["core dice"] = round(2 * int((true_core & found_core).sum()) / both, 4)
    return row


def calibration(maps: PerfusionVolumes, case: PhantomCase) -> dict[str, float]:
    """Fraction of the true tissue whose error is within the standard deviation of the map, for maps that have one."""
    inside, row = true_tissue(case), {}
    for name in ("cbf", "tmax"):
        if (deviation := getattr(maps, f"{name}_sd", None)) is not None:
            error = np.abs(getattr(maps, name).numpy() - case.truth[name])[inside]
            row[f"{name} within sd"] = round(float((error <= deviation.numpy()[inside]).mean()), 4)
    return row


def arterial_agreement(maps: PerfusionVolumes, case: PhantomCase) -> dict[str, float]:
    """Share of the chosen voxels that hold arterial blood, error of the arrival, and of the area.

    The arrival is that of `curve_features`, of the curve found and of the noise-free curve of a large artery at the
    same frames.
    """
    arterial = maps.arterial
    blood = torch.from_numpy(case.series.blood)[arterial.aif_mask]
    truth = torch.from_numpy(case.series.clean_arterial_hu).float()
    curves = ((arterial.aif_hu / arterial.scale, maps.times_s), (truth, maps.series_times_s))
    arrivals = [float(curve_features(curve[:, None], times_s).arrival_s) for curve, times_s in curves]
    areas = [float(torch.trapezoid(*curve)) for curve in ((arterial.aif_hu, maps.times_s), curves[1])]
    return {
        "arterial share": round(float((blood >= ARTERIAL_SHARE).float().mean()), 3),
        "arrival error s": round(arrivals[0] - arrivals[1], 3),
        "aif area ratio": round(areas[0] / areas[1], 3),
        "aif scale": round(arterial.scale, 2),
    }


def motion_effect(examination: Examination, still: PerfusionVolumes, seed: int) -> dict[str, float]:
    """Mean change of CBF in tissue by movements of five frames, without and with motion correction, ml/100 g/min."""
    series = moved(examination.series, examination.spacing_mm, np.random.default_rng(seed))
    row = {}
    for name, correction in (("change moved", False), ("change corrected", True)):
        maps = perfusion_maps(series, examination.dt_s, examination.spacing_mm, motion_correction=correction)
        change = (maps.cbf - still.cbf)[still.tissue].abs().mean()
        row[name] = round(float(change), 3)
    return row


def draw_truth(seed: int, noise_hu: float, out: Path) -> None:
    """Draw the slice of a seed with the most delayed tissue: each map true, computed, and one against the other."""
    case, series, dt_s, spacing_mm = examine(seed, noise_hu)
    found, truth = perfusion_maps(series, dt_s, spacing_mm), case.truth
    index = int((truth["brain"] & (truth["tmax"] > DELAY_S)).sum(axis=(0, 1)).argmax())
    pairs = [
        (scale.title, scale.unit, scale.limits[1], truth[scale.name], getattr(found, scale.name).numpy())
        for scale in SCALES
        if scale.name in MAPS
    ]
    plot_maps(pairs, index, truth["brain"], true_tissue(case), out)
