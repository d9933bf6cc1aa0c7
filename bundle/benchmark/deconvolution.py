"""Deconvolve 8 slices of 256 x 256 pixels and 49 frames, and say where the time from a file to the maps goes.

The two matrix products that every truncated singular value decomposition needs are the floor: from curves to
coefficients, and from coefficients to residue functions. The fixed truncation needs a gathering of the brain's curves
besides. Process time at one thread, medians of alternating runs.
"""

import cProfile
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
from scripts.perfusion.deconvolution import DEFAULT_THRESHOLD, Method
from scripts.perfusion.maps import DEFAULT_SMOOTHING_MM
from scripts.perfusion.smoothing import MaskedGrid
from scripts.phantom.case import PhantomCase, sample_patient, sample_scan, simulate_case
from scripts.phantom.parameters import GridParameters

from .floors import Run
from .measurement import MIB, TIMES_THE_FLOOR, Figure, Found, Measurement, Scaling, Settings
from .timing import Timing, alternate, peak_memory_mib, summary

HELP = "maps from a series: deconvolution against its matrix products, and time by stage"

N_FRAMES, INTERVAL_S = 49, 1.0
CHUNK = 8192
SEED = 5
METHODS: tuple[Method, ...] = ("osvd", "bcsvd", "ssvd")
_LIMITS = {"osvd": 5.0, "bcsvd": 1.6}
_MEMORY_MIB = 20.0
_STAGES = {
    "reading": ("load_case",),
    "examination": ("examine",),
    "arterial input": ("find_arterial_input", "vessel_mask"),
    "filter": ("filter_curves",),
    "estimate": ("bayesian.__init__", "fit_shapes", "from_basis"),
}
"""Functions that make up each stage; what else `scripts.perfusion.maps` calls is the rest."""


def measure(settings: Settings) -> Found:
    """Time and memory of the methods beside their floors, the time by stage, and how both grow."""
    case = simulated_case(64 if settings.quick else 256)
    curves, aif, series, brain = (tensor.to(settings.device) for tensor in _prepared(case))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.nii"
        write_nifti(path, case.series.hu.transpose(1, 2, 3, 0), case.grid.affine, dt_s=INTERVAL_S)
        stages = time_stages(path, settings.repeats)
    notes = [
        f"{len(curves)} voxels, {float(brain.float().mean()):.0%} of the grid, are deconvolved.",
        "oSVD multiplies once for each threshold of its search: 5 times the floor is wanted "
        "at best, and 8 times at most.",
        _before_estimate(stages),
    ]
    rows = [*time_methods(curves, aif, series, brain, settings.repeats), *_stage_rows(stages)]
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
    """Process time in ms of the functions that the module of `perfusion_maps` calls, summed by stage."""
    profiler = cProfile.Profile(time.process_time)
    loaded = profiler.runcall(load_case, {"image": path})
    series = torch.from_numpy(loaded["image"]).permute(3, 0, 1, 2)
    size = np.linalg.norm(loaded["affine"][:3, :3], axis=0)
    profiler.runcall(perfusion_maps, series, INTERVAL_S, (float(size[0]), float(size[1]), float(size[2])))
    seconds: dict[str, float] = {}
    total = 0.0
    for (file, _, name), (*_, cumulative, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if name == "__init__":
            name = f"{Path(file).stem}.{name}"
        if name in ("load_case", "perfusion_maps"):
            total += cumulative
        if name == "load_case":
            seconds[name] = cumulative
        for caller, (*_, by_caller) in callers.items():
            if Path(caller[0]).name == "maps.py":
                seconds[name] = seconds.get(name, 0.0) + by_caller
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
    """What passes before the estimate, and what the estimate takes."""
    before = sum(stages[name].median_ms for name in ("reading", "examination", "arterial input", "filter"))
    estimate = stages["estimate"].median_ms
    return f"From a file to the maps, {before:.0f} ms pass before the Bayesian estimate, which takes {estimate:.0f} ms."


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
