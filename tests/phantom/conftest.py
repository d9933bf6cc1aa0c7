"""Small cases that several test files look at."""

from dataclasses import replace

import numpy as np
import pytest

from scripts.phantom.case import PhantomCase, sample_patient, sample_scan, simulate_case
from scripts.phantom.parameters import ConfounderParameters, GridParameters, PatientParameters, ScanParameters

MATRIX = 64
NO_CONFOUNDERS = ConfounderParameters(0.0, 0, 0.0, "right", 1.0, 0.0)


@pytest.fixture(scope="session")
def m1_patient() -> PatientParameters:
    """A left M1 occlusion with a core of 60 ml and no confounders."""
    patient = sample_patient(np.random.SeedSequence(11))
    stroke = replace(patient.stroke, kind="m1", side="left", target_volume_ml=60.0, reperfused_fraction=0.0)
    return replace(patient, stroke=stroke, confounders=NO_CONFOUNDERS)


@pytest.fixture(scope="session")
def quiet_scan() -> ScanParameters:
    """Eight slices without noise, motion, tilt or vendor errors."""
    scan = sample_scan(np.random.SeedSequence(12))
    return replace(
        scan,
        grid=GridParameters(8, 8.0, 0.9, "RAS", (0.0, 0.0, 0.0), 0.0),
        bolus=replace(scan.bolus, arrival_s=8.0, peak_hu=300.0, residue="exponential"),
        acquisition=replace(
            scan.acquisition,
            n_frames=50,
            frame_interval_s=1.0,
            noise_hu=1e-3,
            drift_mm=0.0,
            jerk_mm=0.0,
            jerk_deg=0.0,
            skull_stripped=False,
        ),
        vendor=replace(
            scan.vendor,
            aif_partial_volume=1.0,
            aif_timing_error_s=0.0,
            venous_correction=True,
            scale_error=1.0,
            hides_fluid=False,
            hides_vessels=True,
            cbf_limit_ml_100g_min=250.0,
            tmax_limit_s=25.0,
        ),
    )


@pytest.fixture(scope="session")
def m1_case(m1_patient: PatientParameters, quiet_scan: ScanParameters) -> PhantomCase:
    """The M1 occlusion in the quiet scan."""
    return simulate_case(m1_patient, quiet_scan, MATRIX)
