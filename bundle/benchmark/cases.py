"""The simulated examination that several benchmarks read, deconvolve or segment."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scripts.io import write_nifti
from scripts.phantom.case import PhantomCase, sample_patient, sample_scan, simulate_case
from scripts.phantom.parameters import GridParameters

from .measure import Settings

N_FRAMES, INTERVAL_S, SEED = 49, 1.0, 5


def matrix_of(settings: Settings) -> int:
    """Pixels along each side of a slice."""
    return 64 if settings.quick else 256


def simulated_case(matrix: int) -> PhantomCase:
    """A still head with its skull, in 8 slices and 49 frames."""
    scan = sample_scan(np.random.SeedSequence(SEED))
    acquisition = replace(
        scan.acquisition, n_frames=N_FRAMES, frame_interval_s=INTERVAL_S, noise_hu=3.0, skull_stripped=False
    )
    grid = GridParameters(8, 8.0, 0.9, "LAS", (0.0, 0.0, 0.0), 0.0)
    patient = sample_patient(np.random.SeedSequence(SEED))
    return simulate_case(patient, replace(scan, grid=grid, acquisition=acquisition), matrix)


def write_series(path: Path, case: PhantomCase) -> Path:
    """Write the series of a case as NIfTI."""
    write_nifti(path, case.series.hu.transpose(1, 2, 3, 0), case.grid.affine, dt_s=INTERVAL_S)
    return path
