"""A scan of 8 slices of 256 x 256 pixels and 49 frames, simulated with its maps and written as a case.

The floor is a random number for every voxel of every frame, which no noise can do without, rounded to what a CT stores,
and the writing of the series. There is no limit: anatomy, blood flow and the vendor's maps are the work.
"""

import itertools
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from scripts.io import write_nifti
from scripts.phantom.case import PhantomCase
from scripts.phantom.writer import write_case

from .cases import INTERVAL_S, matrix_of, simulated_case
from .measure import Alternative, Found, Run, Settings, compared, growth

HELP = "simulating and writing a case against drawing its noise"

FLOOR = "floor: noise and the series' file"


def measure(settings: Settings) -> Found:
    """Simulating and writing, and how simulating grows with the pixels."""
    case = simulated_case(matrix_of(settings))
    numbers = itertools.count(1)
    with tempfile.TemporaryDirectory() as folder:

        def write() -> None:  # under another name each time: what is there is not replaced
            number = next(numbers)
            write_case(case, Path(folder), f"case_{number}", number)

        ways = {
            "simulating": Alternative(partial(simulated_case, matrix_of(settings)), FLOOR),
            "writing": Alternative(write, FLOOR),
            FLOOR: Alternative(partial(_noise_alone, case, Path(folder) / "floor.nii")),
        }
        rows = compared(ways, settings, most_rounds=3)
    points = [32, 64] if settings.quick else [64, 128, 256]
    return Found(rows, [growth("pixels along each side", points, _simulating, settings)])


def _simulating(matrix: int) -> dict[str, Run]:
    return {"simulating": partial(simulated_case, matrix)}


def _noise_alone(case: PhantomCase, path: Path) -> None:
    series = np.random.default_rng(0).standard_normal(case.series.hu.shape, dtype=np.float32)
    hu = np.rint(series, out=series).astype(np.int16)
    write_nifti(path, hu.transpose(1, 2, 3, 0), case.grid.affine, dt_s=INTERVAL_S)
