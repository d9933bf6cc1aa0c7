"""A scan of 8 slices of 256 x 256 pixels and 49 frames, simulated with its maps and written as a case.

The floor is a random number for every voxel of every frame, which no noise can do without, rounded to what a CT stores,
and the writing of the series. There is no limit: anatomy, blood flow and the vendor's maps are the work. With processes
the clock counts, over the cases of a small data set.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from scripts.io import write_nifti
from scripts.phantom import generate_cohort
from scripts.phantom.case import PhantomCase
from scripts.phantom.writer import write_case

from .deconvolution import INTERVAL_S, SEED, simulated_case
from .measurement import TIMES_THE_FLOOR, Figure, Found, Measurement, Scaling, Settings
from .timing import alternate

HELP = "simulating and writing a case against drawing its noise"

SIMULATED, WRITTEN, FLOOR = "simulating", "writing", "floor: noise and the series' file"
COHORT_CASES = 8


def measure(settings: Settings) -> Found:
    """Simulating and writing, and how they grow with pixels and processes."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows(64 if settings.quick else 256, Path(folder), settings)
        scaling = [_with_pixels(settings)]
        if not settings.quick:
            scaling.append(_with_processes(Path(folder)))
    return Found(rows, scaling)


def _rows(matrix: int, folder: Path, settings: Settings) -> list[Measurement]:
    case = simulated_case(matrix)
    runs: dict[str, Callable[[], object]] = {
        SIMULATED: partial(simulated_case, matrix),
        WRITTEN: _writing(case, folder),
        FLOOR: partial(_noise_alone, case, folder / "floor.nii"),
    }
    timings = alternate(runs, min(settings.repeats, 5))
    total_ms = timings[SIMULATED].median_ms + timings[WRITTEN].median_ms
    figures = {
        TIMES_THE_FLOOR: Figure(total_ms / timings[FLOOR].median_ms),
        "cases a minute and core": Figure(60_000 / total_ms, higher_is_better=True, unit="cases"),
    }
    return [Measurement(name, timing, figures if name == SIMULATED else {}) for name, timing in timings.items()]


def _writing(case: PhantomCase, folder: Path) -> Callable[[], None]:
    """A function that writes the case under another name each time: what is there is not replaced."""
    numbers = iter(range(1, 10_000))

    def write() -> None:
        number = next(numbers)
        write_case(case, folder, f"case_{number}", number)

    return write


def _noise_alone(case: PhantomCase, path: Path) -> None:
    series = np.random.default_rng(0).standard_normal(case.series.hu.shape, dtype=np.float32)
    hu = np.rint(series, out=series).astype(np.int16)
    write_nifti(path, hu.transpose(1, 2, 3, 0), case.grid.affine, dt_s=INTERVAL_S)


def _with_pixels(settings: Settings) -> Scaling:
    points = [32, 64] if settings.quick else [64, 128, 256]
    runs = {str(matrix): partial(simulated_case, matrix) for matrix in points}
    timings = alternate(runs, min(settings.repeats, 2))
    return Scaling("pixels along each side", points, {SIMULATED: [timings[name].median_ms for name in runs]}, {})


def _with_processes(folder: Path) -> Scaling:
    """The clock for a data set, a case of it, with more and more processes."""
    points = [2**power for power in range((os.cpu_count() or 1).bit_length())]
    case_ms = []
    for workers in points:
        start_s = time.perf_counter()
        generate_cohort(folder / f"{workers}_workers", (COHORT_CASES, 0, 0), SEED, workers=workers)
        case_ms.append(1000 * (time.perf_counter() - start_s) / COHORT_CASES)
    return Scaling("processes (time of a case by the clock)", points, {"data set": case_ms}, {})
