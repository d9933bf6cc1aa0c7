"""Perfusion maps of 8 slices of 256 x 256 pixels and 49 frames by every method, and where their time goes.

The *estimate* turns the filtered curves of the brain into CBF, CBV, MTT and Tmax: the Bayesian one, which makes the
maps by default, with its prior fitted, and the three truncated singular value decompositions. The floor of a
decomposition is its two matrix products, from curves to coefficients and from those to residue functions. *All maps*
go from the series to the maps; the stages are those of the default method, from the file.
"""

import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from scripts.io import load_case
from scripts.perfusion import deconvolve, perfusion_maps
from scripts.perfusion.arterial_input import find_arterial_input
from scripts.perfusion.bayesian import BayesianEstimator, Posterior
from scripts.perfusion.deconvolution import DEFAULT_THRESHOLD
from scripts.perfusion.deconvolution import Method as Deconvolution
from scripts.perfusion.examination import examine
from scripts.perfusion.filters import filter_curves, principal_curves, to_basis
from scripts.perfusion.maps import DEFAULT_SMOOTHING_MM, Method
from scripts.perfusion.masked_grid import MaskedGrid
from scripts.perfusion.volumes import PerfusionVolumes
from scripts.phantom.case import PhantomCase

from .cases import INTERVAL_S, N_FRAMES, SEED, matrix_of, simulated_case, write_series
from .measure import Alternative, Figure, Found, Row, Run, Settings, compared, growth, peak_mib, quartiles_ms

HELP = "maps from a series: the estimate of every method, and time by stage"

BAYESIAN = "bayesian"
METHODS: tuple[Method, ...] = get_args(Method)
DECOMPOSITIONS: tuple[Deconvolution, ...] = get_args(Deconvolution)
CHUNK = 8192
_LIMITS, _MOST_MIB = {"osvd": 5.0, "bcsvd": 1.6}, {BAYESIAN: 100.0}
_STAGES: dict[str, tuple[Callable[..., Any], ...]] = {
    "reading": (load_case,),
    "movement, brain and baseline": (examine,),
    "arterial input": (find_arterial_input,),
    "filter": (filter_curves,),
    "estimate": (BayesianEstimator.fit_shapes, BayesianEstimator.from_basis),
}
"""The functions of each stage, none of which calls another; what else the maps take is the rest."""
_LARGE = (((512, 512, 16, 60), 0.45, 5.0), ((512, 512, 320, 20), 0.45, 0.5))
"""Height, width, slices and frames of large series, and the size of pixels and slices in mm."""
_LARGE_S, _LARGE_MEMORY, _SPARE_GIB = 20.0, 3.0, 4.0
"""Process time of the first; memory of all over that of the series; what else runs needs so much."""


def measure(settings: Settings) -> Found:
    """Time and memory of the estimates and of all maps by each method, the stages, large series, and growth."""
    case = simulated_case(matrix_of(settings))
    series = torch.from_numpy(case.series.hu).float().to(settings.device)
    maps = perfusion_maps(series, INTERVAL_S, _spacing_mm(case))
    curves, aif = _curves(series, maps, _spacing_mm(case)), maps.arterial.aif_hu
    whole = {
        f"all maps: {name}": Alternative(partial(perfusion_maps, series, INTERVAL_S, _spacing_mm(case), method=name))
        for name in METHODS
    }
    rows = [
        *_estimate_rows(curves, aif, settings),
        *compared(whole, settings, most_rounds=3),
        *_stage_rows(case, settings),
    ]
    large, notes = _large_rows(case, settings)
    sizes = [int(part * len(curves)) for part in (0.25, 0.5, 1.0)]
    grown = growth("voxels", sizes, lambda n: estimates(curves[:n], aif), settings)
    count = f"{len(curves)} voxels, {float(maps.brain.float().mean()):.0%} of the grid, are estimated."
    floor = "oSVD multiplies once for each threshold of its search: 5 times the floor is wanted, 8 times at most."
    return Found([*rows, *large], [grown], [count, floor, *notes])


def _spacing_mm(case: PhantomCase) -> tuple[float, float, float]:
    size = case.grid.spacing_mm
    return float(size[0]), float(size[1]), float(size[2])


def _curves(series: Tensor, maps: PerfusionVolumes, spacing_mm: tuple[float, float, float]) -> Tensor:
    """Smoothed enhancement of the brain, (voxels, frames), in HU."""
    curves = MaskedGrid(maps.brain).curves(series, DEFAULT_SMOOTHING_MM, spacing_mm, source=maps.tissue)
    return (curves - curves[: maps.n_baseline].mean(dim=0)).T


def estimates(curves: Tensor, aif: Tensor) -> dict[str, Run]:
    """The estimate of the curves (voxels, frames) by each method; that of Bayes works on their components."""
    basis = principal_curves(curves.T)
    coefficients, _ = to_basis(curves.T, basis)
    times_s = INTERVAL_S * torch.arange(len(aif), device=aif.device)

    def bayesian() -> Posterior:
        estimator = BayesianEstimator(aif, times_s)
        estimator.fit_shapes(coefficients, basis, 1.0)
        return estimator.from_basis(coefficients, basis, 1.0)

    runs: dict[str, Run] = {BAYESIAN: bayesian}
    return runs | {name: partial(deconvolve, curves, aif, INTERVAL_S, method=name) for name in DECOMPOSITIONS}


def _estimate_rows(curves: Tensor, aif: Tensor, settings: Settings) -> list[Row]:
    maps_mib = 4 * 4 * len(curves) / 2**20
    ways = {}
    for name, run in estimates(curves, aif).items():
        floor = f"floor: products of {name}" if name in _LIMITS else ""
        most_mib = _MOST_MIB.get(name, 20.0) + maps_mib
        ways[f"estimate: {name}"] = Alternative(run, floor, limit=_LIMITS.get(name), most_mib=most_mib)
        if floor:
            ways[floor] = Alternative(_products(curves, aif, DEFAULT_THRESHOLD[name]))
    return compared(ways, settings)


def _products(curves: Tensor, aif: Tensor, threshold: float) -> Run:
    """The two matrix products of a threshold, in chunks, with matrices of the right shapes."""
    size = torch.fft.rfft(aif, n=2 * len(aif)).abs()
    kept = int((size >= threshold * size.max()).sum())
    project, residue = (
        torch.randn(n, m, device=aif.device) for n, m in ((len(aif), 2 * kept), (2 * kept, 2 * len(aif)))
    )
    return lambda: [(part @ project) @ residue for part in curves.split(CHUNK)]


def _stage_rows(case: PhantomCase, settings: Settings) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_series(Path(folder) / "series.nii", case)
        runs = [_profile(path, _spacing_mm(case)) for _ in range(min(settings.rounds, 3) + 1)][1:]
    stages = {stage: quartiles_ms([run[stage] for run in runs]) for stage in runs[0]}
    total = sum(ms[1] for ms in stages.values())
    return [
        Row(f"file to maps: {stage}", ms, {"part of all": Figure(100 * ms[1] / total, unit="%")})
        for stage, ms in stages.items()
    ]


def _profile(path: Path, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """Process time in s of each stage from a file to the maps."""
    profiler = cProfile.Profile(time.process_time)
    series = torch.from_numpy(profiler.runcall(load_case, {"image": path})["image"]).permute(3, 0, 1, 2)
    profiler.runcall(perfusion_maps, series, INTERVAL_S, spacing_mm)
    found = pstats.Stats(profiler).stats  # type: ignore[attr-defined]

    def seconds(function: Callable[..., Any]) -> float:
        code = function.__code__
        return found.get((code.co_filename, code.co_firstlineno, code.co_name), (0, 0, 0.0, 0.0))[3]

    stages = {stage: sum(map(seconds, functions)) for stage, functions in _STAGES.items()}
    return stages | {"rest": seconds(load_case) + seconds(perfusion_maps) - sum(stages.values())}


def _large_rows(case: PhantomCase, settings: Settings) -> tuple[list[Row], list[str]]:
    """Process time and peak memory of all maps of large series, and for which of them too little memory is free."""
    rows: list[Row] = []
    notes: list[str] = []
    for (height, width, depth, n_frames), pixel_mm, slice_mm in _LARGE:
        if settings.quick:
            height, width, depth, pixel_mm = 96, 96, 2, pixel_mm * height / 96
        name = f"all maps, {height} x {width} x {depth} x {n_frames}"
        needed_gib = _LARGE_MEMORY * 4 * height * width * depth * n_frames / 2**30 + _SPARE_GIB
        if needed_gib > os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30:
            notes.append(f"{name}: not run, as {needed_gib:.0f} GiB of memory were not free.")
            continue
        series = _resampled(case, (n_frames, height, width, depth))
        maps = partial(
            perfusion_maps, series, (N_FRAMES - 1) * INTERVAL_S / (n_frames - 1), (pixel_mm, pixel_mm, slice_mm)
        )
        start_s = time.process_time()
        maps()
        seconds = time.process_time() - start_s
        memory = 1 + peak_mib(maps) * 2**20 / series.nbytes
        figures = {"memory over the series'": Figure(memory, _LARGE_MEMORY)}
        if not rows:
            figures["process time"] = Figure(seconds, _LARGE_S, unit="s")
        rows.append(Row(name, quartiles_ms([seconds]), figures))
    return rows, notes


def _resampled(case: PhantomCase, shape: tuple[int, int, int, int]) -> Tensor:
    """A series (T, H, W, D) in the order of a file: the nearest frames, slices and pixels of a case, with noise."""
    frames, *places = (
        np.linspace(0, old - 1, new).round().astype(int) for old, new in zip(case.series.hu.shape, shape, strict=True)
    )
    generator = np.random.default_rng(SEED)
    series = torch.empty((shape[0], shape[3], shape[2], shape[1]))
    for target, frame in zip(series, frames, strict=True):
        picture = case.series.hu[frame][np.ix_(*places)].T
        target.copy_(torch.from_numpy(picture + generator.standard_normal(picture.shape, dtype=np.float32)))
    return series.permute(0, 3, 2, 1)
