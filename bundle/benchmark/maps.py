"""Perfusion maps of 8 slices of 256 x 256 pixels and 49 frames by every method.

The *estimate* turns the filtered curves of the brain into CBF, CBV, MTT and Tmax: the Bayesian one, which makes the
maps by default, with its prior fitted, and the three truncated singular value decompositions. The floor of a
decomposition is its two matrix products, from curves to coefficients and from those to residue functions; oSVD
multiplies once for each threshold of its search. *All maps* go from the series to the maps. The time of a large series
is that of one run.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from scripts.io import write_nifti
from scripts.perfusion import deconvolve, perfusion_maps
from scripts.perfusion.bayesian import BayesianEstimator, Posterior
from scripts.perfusion.deconvolution import DEFAULT_THRESHOLD
from scripts.perfusion.deconvolution import Method as Deconvolution
from scripts.perfusion.filters import principal_curves, to_basis
from scripts.perfusion.maps import DEFAULT_SMOOTHING_MM, Method
from scripts.perfusion.masked_grid import MaskedGrid
from scripts.phantom.case import PhantomCase, sample_patient, sample_scan, simulate_case
from scripts.phantom.parameters import GridParameters

from .measure import Figure, Group, Run, Settings, peak_mib

N_FRAMES, INTERVAL_S, SEED = 49, 1.0, 5
CHUNK = 8192
MOST_FLOORS: dict[Deconvolution, float] = {"osvd": 5.0, "bcsvd": 1.6}
MOST_MIB = {"bayesian": 100.0, "osvd": 20.0, "bcsvd": 20.0, "ssvd": 20.0}
"""The most memory of an estimate beside its four maps."""
LARGE = {"512 x 512 x 16 x 60": ((60, 512, 512, 16), 5.0), "512 x 512 x 320 x 20": ((20, 512, 512, 320), 0.5)}
"""Frames, height, width and slices of large series, and the distance of the slices in mm."""
MOST_LARGE_S, MOST_LARGE_MEMORY, SPARE_GIB = 20.0, 3.0, 4.0
"""Process time of the first; memory of both over that of the series; what else runs needs so much."""


def measure(settings: Settings) -> Iterator[Group | Figure]:
    """The estimate and all maps by each method, estimates of fewer voxels, and large series."""
    case = simulated_case(settings.quick)
    series, spacing_mm = torch.from_numpy(case.series.hu).float().to(settings.device), spacing(case)
    computed = perfusion_maps(series, INTERVAL_S, spacing_mm)
    curves = MaskedGrid(computed.brain).curves(series, DEFAULT_SMOOTHING_MM, spacing_mm, source=computed.tissue)
    curves = (curves - curves[: computed.n_baseline].mean(dim=0)).T
    aif, maps_mib = computed.arterial.aif_hu, 4 * 4 * len(curves) / 2**20
    yield Figure("voxels that are estimated", len(curves))
    floors = {f"{name} floor": products(curves, aif, DEFAULT_THRESHOLD[name]) for name in MOST_FLOORS}
    ratios: dict[tuple[str, str], float | None] = {(name, f"{name} floor"): most for name, most in MOST_FLOORS.items()}
    memory = {name: most + maps_mib for name, most in MOST_MIB.items()}
    yield Group("estimate", estimates(curves, aif) | floors, ratios, memory)
    for part in (0.25, 0.5):
        yield Group(f"estimate of {part:.0%}", estimates(curves[: int(part * len(curves))], aif), most_rounds=2)
    whole = {name: partial(perfusion_maps, series, INTERVAL_S, spacing_mm, method=name) for name in get_args(Method)}
    yield Group("all maps", whole, most_rounds=3)
    for name, (shape, slice_mm) in LARGE.items():
        yield from large_series(name, case, (20, 64, 64, 2) if settings.quick else shape, slice_mm)


def simulated_case(quick: bool) -> PhantomCase:
    """A still head with its skull, in 8 slices of 256 x 256 pixels and 49 frames; quick: 2 of 64 x 64."""
    scan = sample_scan(np.random.SeedSequence(SEED))
    acquisition = replace(
        scan.acquisition, n_frames=N_FRAMES, frame_interval_s=INTERVAL_S, noise_hu=3.0, skull_stripped=False
    )
    grid = GridParameters(2 if quick else 8, 8.0, 0.9, "LAS", (0.0, 0.0, 0.0), 0.0)
    patient = sample_patient(np.random.SeedSequence(SEED))
    return simulate_case(patient, replace(scan, grid=grid, acquisition=acquisition), 64 if quick else 256)


def spacing(case: PhantomCase) -> tuple[float, float, float]:
    """The size of a voxel in mm."""
    height, width, slices = (float(size) for size in case.grid.spacing_mm)
    return height, width, slices


def write_series(path: Path, case: PhantomCase) -> Path:
    """Write the series of a case as NIfTI."""
    write_nifti(path, case.series.hu.transpose(1, 2, 3, 0), case.grid.affine, dt_s=INTERVAL_S)
    return path


def estimates(curves: Tensor, aif: Tensor) -> dict[str, Run]:
    """The estimate of the curves (voxels, frames) by each method; that of Bayes works on their components."""
    basis = principal_curves(curves.T)
    coefficients, _ = to_basis(curves.T, basis)
    times_s = INTERVAL_S * torch.arange(len(aif), device=aif.device)

    def bayesian() -> Posterior:
        estimator = BayesianEstimator(aif, times_s)
        estimator.fit_shapes(coefficients, basis, 1.0)
        return estimator.from_basis(coefficients, basis, 1.0)

    runs: dict[str, Run] = {"bayesian": bayesian}
    return runs | {name: partial(deconvolve, curves, aif, INTERVAL_S, method=name) for name in get_args(Deconvolution)}


def products(curves: Tensor, aif: Tensor, threshold: float) -> Run:
    """The two matrix products of a threshold, in chunks, with matrices of the right shapes."""
    size = torch.fft.rfft(aif, n=2 * len(aif)).abs()
    kept = int((size >= threshold * size.max()).sum())
    project, residue = (
        torch.randn(n, m, device=aif.device) for n, m in ((len(aif), 2 * kept), (2 * kept, 2 * len(aif)))
    )
    return lambda: [(part @ project) @ residue for part in curves.split(CHUNK)]


def large_series(name: str, case: PhantomCase, shape: tuple[int, int, int, int], slice_mm: float) -> Iterator[Figure]:
    """Process time and peak memory of all maps of a series (T, H, W, D), if enough memory is free."""
    needed_gib = MOST_LARGE_MEMORY * 4 * np.prod(shape) / 2**30 + SPARE_GIB
    if needed_gib > os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30:
        yield Figure(f"all maps, {name}: not run, memory that was not free", needed_gib, unit="GiB")
        return
    series, pixel_mm = resampled(case, shape), 230 / shape[1]
    interval_s = (N_FRAMES - 1) * INTERVAL_S / (shape[0] - 1)
    start_s = time.process_time()
    mib = peak_mib(partial(perfusion_maps, series, interval_s, (pixel_mm, pixel_mm, slice_mm)))
    seconds = time.process_time() - start_s
    yield Figure(f"all maps, {name}: time", seconds, MOST_LARGE_S if slice_mm > 1 else None, "s")
    yield Figure(f"all maps, {name}: memory over the series'", 1 + mib * 2**20 / series.nbytes, MOST_LARGE_MEMORY)


def resampled(case: PhantomCase, shape: tuple[int, int, int, int]) -> Tensor:
    """A series (T, H, W, D) in the order of a file: the nearest frames, slices and pixels of a case, with noise."""
    frames = np.linspace(0, N_FRAMES - 1, shape[0]).round().astype(int)
    series = torch.empty((shape[0], *shape[:0:-1]))
    for target, frame in zip(series, frames, strict=True):
        picture = torch.from_numpy(case.series.hu[frame].T).float()[None, None]
        target.copy_(nn.functional.interpolate(picture, size=target.shape)[0, 0]).add_(torch.randn(target.shape))
    return series.permute(0, 3, 2, 1)
