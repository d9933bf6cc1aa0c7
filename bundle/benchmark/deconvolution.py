"""Deconvolve 8 slices of 256 x 256 pixels and 49 frames, and say where the time from a file to the maps goes.

The two matrix products that every truncated singular value decomposition needs are the floor: from curves to
coefficients, and from coefficients to residue functions. The fixed truncation needs a gathering of the brain's curves
besides. Process time at one thread, medians of alternating runs.
"""

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.io import load_case, write_json, write_nifti
from scripts.perfusion import deconvolve, perfusion_maps
from scripts.perfusion.deconvolution import DEFAULT_THRESHOLD
from scripts.perfusion.denoising import denoise, principal_curves
from scripts.perfusion.maps import DEFAULT_SMOOTHING_MM
from scripts.perfusion.smoothing import MaskedGrid
from scripts.phantom.case import PhantomCase, sample_patient, sample_scan, simulate_case
from scripts.phantom.parameters import GridParameters

from ..report import markdown_table
from ..steps import ROOT, commit, machine
from .timing import Timing, alternate, one_thread, peak_memory_mib

HELP = "maps from a series: deconvolution against its matrix products, and time by stage"

N_FRAMES, INTERVAL_S = 49, 1.0
CHUNK = 8192
SEED = 5
_LIMITS = {"osvd": 8.0, "bcsvd": 1.6}
_STAGES = {
    "reading": ("load_case",),
    "brain mask": ("brain_mask", "away_from_bone"),
    "smoothing": ("curves", "smooth_within", "__init__"),
    "arterial input": ("arrival_frame", "find_arterial_input", "vessel_mask"),
    "deconvolution": ("deconvolve",),
}
"""Functions that make up each stage; what else `perfusion_maps` calls is the rest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's arguments."""
    parser.add_argument("--repeats", type=int, default=9, help="rounds of alternating runs (default: 9)")
    parser.add_argument("--matrix", type=int, default=256, help="pixels along each side of a slice (default: 256)")
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "benchmark_deconvolution.json", help="JSON file")


def run(args: argparse.Namespace) -> None:
    """Measure, print the tables and write the JSON file."""
    one_thread()
    case = simulated_case(args.matrix)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.nii"
        write_nifti(path, case.series.hu.transpose(1, 2, 3, 0), case.grid.affine, dt_s=INTERVAL_S)
        stages = time_stages(path, args.repeats)
    result: dict[str, Any] = {
        "command": f"python -m bundle benchmark deconvolution --repeats {args.repeats} --matrix {args.matrix}",
        "commit": commit(),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "deconvolution": time_deconvolution(case, args.repeats),
        "stages_ms": stages,
    }
    write_json(args.out, result)
    print(deconvolution_table(result["deconvolution"]), stage_table(stages), args.out, sep="\n\n")


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


def time_deconvolution(case: PhantomCase, repeats: int) -> dict[str, Any]:
    """Time and memory of the methods beside their floors."""
    series = torch.from_numpy(case.series.hu).float()
    maps = perfusion_maps(series, INTERVAL_S, _spacing_mm(case))
    grid, aif = MaskedGrid(maps.brain), maps.arterial.aif_hu
    spacing_mm = _spacing_mm(case)
    basis = principal_curves(grid.curves(series, DEFAULT_SMOOTHING_MM, spacing_mm, source=maps.tissue))
    smooth = denoise(grid.curves(series), grid, basis, DEFAULT_SMOOTHING_MM, spacing_mm, maps.tissue)
    curves = (smooth - smooth[: maps.n_baseline].mean(dim=0)).T
    methods = {name: partial(deconvolve, curves, aif, INTERVAL_S, method=name) for name in ("osvd", "bcsvd", "ssvd")}
    floors = {name: _products(curves, aif, DEFAULT_THRESHOLD[name]) for name in ("osvd", "bcsvd")}
    timings = alternate(
        {
            **methods,
            **{f"{name} products": floor for name, floor in floors.items()},
            "gather": partial(_gather, series, maps.brain),
        },
        repeats,
    )
    gather_ms = timings["gather"].median_ms
    floors_ms = {
        "osvd": timings["osvd products"].median_ms,
        "bcsvd": timings["bcsvd products"].median_ms + gather_ms,
    }
    return {
        "voxels": len(curves),
        "brain_share": round(float(maps.brain.float().mean()), 3),
        "timings": {name: timing._asdict() for name, timing in timings.items()},
        "times_the_floor": {name: round(timings[name].median_ms / floor, 2) for name, floor in floors_ms.items()},
        "limits": _LIMITS,
        "extra_memory_mib": {name: round(_extra_mib(method), 1) for name, method in methods.items()},
    }


def _products(curves: Tensor, aif: Tensor, threshold: float) -> partial[None]:
    """The two matrix products of a threshold, in chunks, with matrices of the right shapes."""
    size = torch.fft.rfft(aif, n=2 * len(aif)).abs()
    kept = int((size >= threshold * size.max()).sum())
    project, residue = torch.randn(len(aif), 2 * kept), torch.randn(2 * kept, 2 * len(aif))
    return partial(_multiply, curves, project, residue)


def _multiply(curves: Tensor, project: Tensor, residue: Tensor) -> None:
    for part in curves.split(CHUNK):
        (part @ project) @ residue


def _gather(series: Tensor, brain: Tensor) -> Tensor:
    return series[:, brain]


def _extra_mib(method: partial) -> float:
    """Memory of a deconvolution beyond its four maps, MiB."""
    n_voxels = len(method.args[0])
    return peak_memory_mib(method) - 4 * 4 * n_voxels / 2**20


def time_stages(path: Path, repeats: int) -> dict[str, float]:
    """Median process time in ms of each stage from a file to the maps."""
    runs = [_profile(path) for _ in range(repeats + 1)][1:]
    return {stage: round(float(np.median([run[stage] for run in runs])), 1) for stage in runs[0]}


def _profile(path: Path) -> dict[str, float]:
    """Process time in ms of the functions that `perfusion_maps` calls itself, summed by stage."""
    profiler = cProfile.Profile(time.process_time)
    loaded = profiler.runcall(load_case, {"image": path})
    series = torch.from_numpy(loaded["image"]).permute(3, 0, 1, 2)
    size = np.linalg.norm(loaded["affine"][:3, :3], axis=0)
    profiler.runcall(perfusion_maps, series, INTERVAL_S, (float(size[0]), float(size[1]), float(size[2])))
    seconds: dict[str, float] = {}
    total = 0.0
    for (_, _, name), (*_, cumulative, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if name in ("load_case", "perfusion_maps"):
            total += cumulative
        if name == "load_case":
            seconds[name] = cumulative
        for caller, (*_, by_caller) in callers.items():
            if caller[2] == "perfusion_maps":
                seconds[name] = seconds.get(name, 0.0) + by_caller
    stages = {stage: 1000 * sum(seconds.get(name, 0.0) for name in names) for stage, names in _STAGES.items()}
    return stages | {"rest": 1000 * total - sum(stages.values())}


def _spacing_mm(case: PhantomCase) -> tuple[float, float, float]:
    size = case.grid.spacing_mm
    return float(size[0]), float(size[1]), float(size[2])


def deconvolution_table(found: Mapping[str, Any]) -> str:
    """The methods and floors as a table."""
    body = []
    for name, timing in found["timings"].items():
        low, high = Timing(**timing).quartiles_ms
        ratio, limit = found["times_the_floor"].get(name), found["limits"].get(name)
        memory = found["extra_memory_mib"].get(name)
        body.append(
            [
                name,
                f"{timing['median_ms']:.1f} ({low:.1f} to {high:.1f})",
                "–" if ratio is None else f"{ratio:.2f} (wanted: {limit:g})",
                "–" if memory is None else f"{memory:.1f}",
            ]
        )
    header = [f"{found['voxels']} voxels", "ms (quartiles)", "times its floor", "extra memory (MiB)"]
    return markdown_table(header, body)


def stage_table(stages: Mapping[str, float]) -> str:
    """The stages as a table, and whether preparation takes no longer than deconvolution, with reading on both sides."""
    total = sum(stages.values())
    table = markdown_table(
        ["stage", "ms", "share"], [[name, f"{value:.1f}", f"{value / total:.0%}"] for name, value in stages.items()]
    )
    before = sum(stages[name] for name in ("reading", "brain mask", "smoothing", "arterial input"))
    limit = stages["deconvolution"] + stages["reading"]
    return f"{table}\n\nbefore the deconvolution: {before:.0f} ms; deconvolution and reading: {limit:.0f} ms"
