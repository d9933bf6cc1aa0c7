"""Deconvolve 8 slices of 256 x 256 pixels and 49 frames, and say where the time from a file to the maps goes.

The Bayesian estimate of the same curves, which makes the maps by default, stands beside the deconvolutions; it works on
their filtered components, with the prior of the shapes fitted.
The two matrix products that every truncated singular value decomposition needs are the floor: from curves to
coefficients, and from coefficients to residue functions. The fixed truncation needs a gathering of the brain's curves
besides. Process time at one thread, medians of alternating runs.
"""

import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scripts.io import load_case, write_nifti
from scripts.perfusion import deconvolve, perfusion_maps
from scripts.perfusion.bayesian import BayesianEstimator, Posterior
from scripts.perfusion.deconvolution import DEFAULT_THRESHOLD, Method
from scripts.perfusion.filters import principal_curves, to_basis
from scripts.perfusion.maps import DEFAULT_SMOOTHING_MM
from scripts.perfusion.masked_grid import MaskedGrid
from scripts.phantom.case import PhantomCase, sample_patient, sample_scan, simulate_case
from scripts.phantom.parameters import GridParameters

from .floors import Run
from .measurement import MIB, TIMES_THE_FLOOR, Figure, Found, Measurement, Scaling, Settings
from .timing import Timing, alternate, peak_memory_mib, run_ms, summary

HELP = "maps from a series: deconvolution against its matrix products, and time by stage"

N_FRAMES, INTERVAL_S = 49, 1.0
CHUNK = 8192
SEED = 5
METHODS: tuple[Method, ...] = ("osvd", "bcsvd", "ssvd")
_LIMITS = {"osvd": 5.0, "bcsvd": 1.6}
_MEMORY_MIB, _ESTIMATE_MIB = 20.0, 100.0
_STAGES = {
    "reading": ("load_case",),
    "fine pixels": ("reduced", "restored"),
    "movement": ("frame_motion", "correct_motion", "_largest_movement_mm"),
    "brain and baseline": ("_found",),
    "arterial input": ("_arterial_input", "vessel_mask"),
    "smoothing": ("filter_curves",),
    "estimate": ("_posterior",),
}
_LARGE = (((512, 512, 16, 60), 0.45, 5.0), ((512, 512, 320, 20), 0.45, 0.5))
"""Height, width, slices and frames of large series, and the size of pixels and slices in mm."""
_LARGE_S, _LARGE_MEMORY = 20.0, 3.0  # processor time of the first, and memory of all over that of the series
_SPARE_GIB = 4.0  # of memory, for what else runs
"""Functions that make up each stage, none of which calls another; what else `perfusion_maps` takes is the rest."""


def measure(settings: Settings) -> Found:
    """Time and memory of the methods beside their floors, the time by stage, and how both grow."""
    case = simulated_case(64 if settings.quick else 256)
    curves, aif, series, brain = (tensor.to(settings.device) for tensor in _prepared(case))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.nii"
        write_nifti(path, case.series.hu.transpose(1, 2, 3, 0), case.grid.affine, dt_s=INTERVAL_S)
        stages = time_stages(path, settings.repeats)
    large, large_notes = large_rows(case, settings.quick)
    notes = [
        f"{len(curves)} voxels, {float(brain.float().mean()):.0%} of the grid, are deconvolved.",
        "oSVD multiplies once for each threshold of its search: 5 times the floor is wanted "
        "at best, and 8 times at most.",
        _before_estimate(stages),
        *large_notes,
    ]
    rows = [
        *time_methods(curves, aif, series, brain, settings.repeats),
        estimate_row(curves, aif, settings.repeats),
        *_stage_rows(stages),
        *large,
    ]
    return Found(rows, _scaling(curves, aif, settings), notes)


def simulated_case(matrix: int) -> PhantomCase:
    """A still head with its skull, in 8 slices and 49 frames."""
    scan = sample_scan(np.random.SeedSequence(SEED))
    acquisition = replace(
        scan.acquisition, n_frames=N_FRAMES, frame_interval_s=INTERVAL_S, noise_hu=3.0, skull_stripped=False
    )
    grid = GridParameters(8, 8.0, 0.9, "LAS", (0.0, 0.0, 0.0), 0.0)
    return simulate_case(
        sample_patient(np.random.SeedSequence(SEED)), replace(scan, grid=grid, acquisition=acquisition), matrix
    )


def _prepared(case: PhantomCase) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Smoothed enhancement (voxels, frames) and arterial input in HU; the series and the brain."""
    series = torch.from_numpy(case.series.hu).float()
    spacing_mm = _spacing_mm(case)
    maps = perfusion_maps(series, INTERVAL_S, spacing_mm)
    curves = MaskedGrid(maps.brain).curves(series, DEFAULT_SMOOTHING_MM, spacing_mm, source=maps.tissue)
    enhancement = curves - curves[: maps.n_baseline].mean(dim=0)
    return enhancement.T, maps.arterial.aif_hu, series, maps.brain


def time_methods(curves: Tensor, aif: Tensor, series: Tensor, brain: Tensor, repeats: int) -> list[Measurement]:
    """A row for each method and each part of the floors."""
    methods: dict[str, Run] = {name: partial(deconvolve, curves, aif, INTERVAL_S, method=name) for name in METHODS}
    products = {f"{name} products": _products(curves, aif, DEFAULT_THRESHOLD[name]) for name in _LIMITS}
    timings = alternate({**methods, **products, "gather": partial(_gather, series, brain)}, repeats, curves.device)
    floors_ms = {name: timings[f"{name} products"].median_ms for name in _LIMITS}
    floors_ms["bcsvd"] += timings["gather"].median_ms
    rows = []
    for name, timing in timings.items():
        figures = {}
        if name in floors_ms:
            figures[TIMES_THE_FLOOR] = Figure(timing.median_ms / floors_ms[name], _LIMITS[name])
        if name in methods:
            figures["memory beyond the maps"] = Figure(_extra_mib(methods[name], curves), _MEMORY_MIB, unit=MIB)
        rows.append(Measurement(name, timing, figures))
    return rows


def estimate_row(curves: Tensor, aif: Tensor, repeats: int) -> Measurement:
    """The Bayesian estimate of the same curves, in their principal components, with the shapes fitted."""
    basis = principal_curves(curves.T)
    coefficients, _ = to_basis(curves.T, basis)
    times_s = INTERVAL_S * torch.arange(len(aif), device=aif.device)

    def estimate() -> Posterior:
        estimator = BayesianEstimator(aif, times_s)
        estimator.fit_shapes(coefficients, basis, 1.0)
        return estimator.from_basis(coefficients, basis, 1.0)

    timing = alternate({"bayesian": estimate}, repeats, curves.device)["bayesian"]
    beyond_mib = peak_memory_mib(estimate, curves.device) - 4 * len(Posterior._fields) * len(curves) / 2**20
    return Measurement("bayesian", timing, {"memory beyond the maps": Figure(beyond_mib, _ESTIMATE_MIB, unit=MIB)})


def _products(curves: Tensor, aif: Tensor, threshold: float) -> partial[None]:
    """The two matrix products of a threshold, in chunks, with matrices of the right shapes."""
    size = torch.fft.rfft(aif, n=2 * len(aif)).abs()
    kept = int((size >= threshold * size.max()).sum())
    project, residue = (
        torch.randn(shape, device=aif.device) for shape in ((len(aif), 2 * kept), (2 * kept, 2 * len(aif)))
    )
    return partial(_multiply, curves, project, residue)


def _multiply(curves: Tensor, project: Tensor, residue: Tensor) -> None:
    for part in curves.split(CHUNK):
        (part @ project) @ residue


def _gather(series: Tensor, brain: Tensor) -> Tensor:
    return series[:, brain]


def _extra_mib(method: Run, curves: Tensor) -> float:
    """Memory of the deconvolution of some curves beyond its four maps, MiB."""
    return peak_memory_mib(method, curves.device) - 4 * 4 * len(curves) / 2**20


def time_stages(path: Path, repeats: int) -> dict[str, Timing]:
    """Process time of each stage from a file to the maps."""
    runs = [_profile(path) for _ in range(repeats + 1)][1:]
    return {stage: summary([run[stage] for run in runs]) for stage in runs[0]}


def _profile(path: Path) -> dict[str, float]:
    """Process time in ms of the functions that `perfusion_maps` calls itself, summed by stage."""
    profiler = cProfile.Profile(time.process_time)
    loaded = profiler.runcall(load_case, {"image": path})
    series = torch.from_numpy(loaded["image"]).permute(3, 0, 1, 2)
    size = np.linalg.norm(loaded["affine"][:3, :3], axis=0)
    profiler.runcall(perfusion_maps, series, INTERVAL_S, (float(size[0]), float(size[1]), float(size[2])))
    seconds: dict[str, float] = {}
    for (_, _, name), (*_, cumulative, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        seconds[name] = max(seconds.get(name, 0.0), cumulative)
    total = seconds["load_case"] + seconds["perfusion_maps"]
    stages = {stage: 1000 * sum(seconds.get(name, 0.0) for name in names) for stage, names in _STAGES.items()}
    return stages | {"rest": 1000 * total - sum(stages.values())}


def _spacing_mm(case: PhantomCase) -> tuple[float, float, float]:
    size = case.grid.spacing_mm
    return float(size[0]), float(size[1]), float(size[2])


def _stage_rows(stages: Mapping[str, Timing]) -> list[Measurement]:
    total = sum(timing.median_ms for timing in stages.values())
    return [
        Measurement(f"file to maps: {name}", timing, {"share": Figure(100 * timing.median_ms / total, unit="%")})
        for name, timing in stages.items()
    ]


def _before_estimate(stages: Mapping[str, Timing]) -> str:
    """How long preparation takes beside the estimate."""
    before = sum(timing.median_ms for stage, timing in stages.items() if stage not in ("reading", "estimate"))
    return f"Of the maps' time, {stages['estimate'].median_ms:.0f} ms are the estimate's and {before:.0f} ms are not."


def large_rows(case: PhantomCase, quick: bool) -> tuple[list[Measurement], list[str]]:
    """Processor time and peak memory of all maps of large series, and for which of them too little memory is free.

    Memory is that of all tensors at a time, the series included, over the series'.
    """
    rows: list[Measurement] = []
    notes: list[str] = []
    for (height, width, depth, n_frames), pixel_mm, slice_mm in _LARGE:
        if quick:
            height, width, depth, pixel_mm = 96, 96, 2, pixel_mm * height / 96
        name = f"all maps, {height} x {width} x {depth} x {n_frames}"
        series_gib = 4 * height * width * depth * n_frames / 2**30
        if _LARGE_MEMORY * series_gib + _SPARE_GIB > _available_gib():
            notes.append(
                f"{name}: not run, as {_LARGE_MEMORY * series_gib + _SPARE_GIB:.0f} GiB of memory were not free."
            )
            continue
        series = _tiled(case, height, width, depth, n_frames)
        interval_s = (N_FRAMES - 1) * INTERVAL_S / (n_frames - 1)
        maps = partial(perfusion_maps, series, interval_s, (pixel_mm, pixel_mm, slice_mm))
        timing = summary([run_ms(maps)])
        share = 1 + peak_memory_mib(maps) * 2**20 / (series.numel() * series.element_size())
        figures = {"memory over the series'": Figure(share, _LARGE_MEMORY)}
        if not rows:
            figures["processor time"] = Figure(timing.median_ms / 1000, _LARGE_S, unit="s")
        rows.append(Measurement(name, timing, figures))
    return rows, notes


def _available_gib() -> float:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _tiled(case: PhantomCase, height: int, width: int, depth: int, n_frames: int) -> Tensor:
    """A series (T, H, W, D) in the order of a file: the nearest frames, slices and pixels of a case, with noise."""
    source = case.series.hu
    picked = [
        np.linspace(0, old - 1, new).round().astype(int)
        for old, new in zip(source.shape, (n_frames, height, width, depth), strict=True)
    ]
    generator = np.random.default_rng(SEED)
    series = torch.empty((n_frames, depth, width, height))
    for frame, place in zip(series, picked[0], strict=True):
        picture = source[place][np.ix_(*picked[1:])].T
        frame.copy_(torch.from_numpy(picture + generator.standard_normal(picture.shape, dtype=np.float32)))
    return series.permute(0, 3, 2, 1)


def _scaling(curves: Tensor, aif: Tensor, settings: Settings) -> list[Scaling]:
    """Against voxels, and against frames."""
    parts = (0.25, 1.0) if settings.quick else (0.125, 0.25, 0.5, 1.0)
    sizes = [int(part * len(curves)) for part in parts]
    frames = [int(part * len(aif)) for part in ((0.5, 1.0) if settings.quick else (0.4, 0.6, 0.8, 1.0))]
    return [
        _grown("voxels", sizes, [(curves[:size], aif) for size in sizes], settings),
        _grown("frames", frames, [(curves[:, :count], aif[:count]) for count in frames], settings),
    ]


def _grown(axis: str, points: list[int], inputs: list[tuple[Tensor, Tensor]], settings: Settings) -> Scaling:
    runs = {
        f"{name} {point}": partial(deconvolve, *given, INTERVAL_S, method=name)
        for name in METHODS
        for point, given in zip(points, inputs, strict=True)
    }
    timings = alternate(runs, min(settings.repeats, 3), settings.device)
    return Scaling(
        axis,
        points,
        {name: [timings[f"{name} {point}"].median_ms for point in points] for name in METHODS},
        {
            name: [_extra_mib(runs[f"{name} {point}"], given[0]) for point, given in zip(points, inputs, strict=True)]
            for name in METHODS
        },
    )
