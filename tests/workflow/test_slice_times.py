"""A phantom scanned by a table that jogs between two positions reads like the one whose slices are taken at once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts import cli
from scripts.io.nifti import write_nifti
from scripts.perfusion import PerfusionVolumes, Reading, perfusion_maps, read_maps
from scripts.phantom.case import PhantomCase, sample_patient, sample_scan, simulate_case
from tests.dicom import vendors

SEED, MATRIX, N_SLICES, INTERVAL_S, N_FRAMES = 3, 96, 6, 1.5, 41
OFFSETS_S = np.repeat([0.0, INTERVAL_S / 2], N_SLICES // 2)


class Scans(NamedTuple):
    at_once: PhantomCase
    jog: PhantomCase
    """The same patient and the same noise."""

    @property
    def slice_times_s(self) -> np.ndarray:
        return self.jog.series.frame_times_s + OFFSETS_S[:, None]


@pytest.fixture(scope="module")
def scans() -> Scans:
    patient_seed, scan_seed = np.random.SeedSequence(SEED).spawn(2)
    patient, scan = sample_patient(patient_seed), sample_scan(scan_seed)
    still = replace(scan.acquisition, jerk_mm=0.0, jerk_deg=0.0, drift_mm=0.0)
    acquisition = replace(still, frame_interval_s=INTERVAL_S, n_frames=N_FRAMES)
    grid = replace(scan.grid, n_slices=N_SLICES, slice_spacing_mm=6.0)
    scan = replace(scan, acquisition=acquisition, grid=grid)
    return Scans(*(simulate_case(patient, scan, MATRIX, offsets_s) for offsets_s in (None, OFFSETS_S)))


def test_the_phantom_samples_slices_at_their_times(scans: Scans) -> None:
    """The lower slab is the same to the last bit; the upper one is ahead."""
    lower, upper = slice(0, N_SLICES // 2), slice(N_SLICES // 2, None)
    at_once, jog = scans.at_once.series, scans.jog.series
    np.testing.assert_array_equal(jog.hu[..., lower], at_once.hu[..., lower])
    brain = scans.jog.truth["brain"][..., upper]
    means = [series.hu[..., upper][:, brain].mean(axis=1) for series in (at_once, jog)]
    slope = np.gradient(means[0], INTERVAL_S)
    ahead_s = (means[1] - means[0]) @ slope / (slope @ slope)  # the noise of both is the same
    assert ahead_s == pytest.approx(INTERVAL_S / 2, abs=0.15)


def volumes(case: PhantomCase, slice_times_s: np.ndarray | None) -> tuple[Reading, PerfusionVolumes]:
    size = case.grid.spacing_mm
    spacing_mm = (float(size[0]), float(size[1]), float(size[2]))
    given = None if slice_times_s is None else torch.from_numpy(slice_times_s)
    maps = perfusion_maps(torch.from_numpy(case.series.hu), INTERVAL_S, spacing_mm, slice_times_s=given)
    affine = torch.from_numpy(case.grid.affine)
    return read_maps(maps.cbf, maps.cbv, maps.tmax, maps.tissue, affine, spacing_mm)[0], maps


def test_the_volumes_are_those_of_slices_taken_at_once(scans: Scans) -> None:
    (at_once, usual), (jog, timed), (_, ignored) = (
        volumes(scans.at_once, None),
        volumes(scans.jog, scans.slice_times_s),
        volumes(scans.jog, None),
    )
    assert jog.core_ml == pytest.approx(at_once.core_ml, rel=0.1)
    assert jog.tmax_ml["6"] == pytest.approx(at_once.tmax_ml["6"], rel=0.1)
    assert not timed.motion.lost.any()

    def slab_step_s(maps: PerfusionVolumes) -> float:
        """By how much more Tmax of the upper slab is above the truth than that of the lower one."""
        compared = maps.tissue & usual.tissue & (truth_s > 2.0)  # Tmax ends at 0
        error_s = torch.where(compared, maps.tmax - truth_s, torch.nan).unflatten(2, (2, -1))
        lower, upper = (float(error_s[:, :, slab].nanmedian()) for slab in (0, 1))
        return upper - lower

    truth_s = torch.from_numpy(scans.at_once.truth["tmax"])
    assert slab_step_s(timed) == pytest.approx(slab_step_s(usual), abs=0.2)
    assert slab_step_s(ignored) == pytest.approx(slab_step_s(usual) - INTERVAL_S / 2, abs=0.3)


@pytest.mark.slow
def test_the_lesion_is_that_of_slices_taken_at_once(scans: Scans, tmp_path: Path) -> None:
    """By the weights that ship, through the command, with the sidecar alone to tell the times, or the headers of DICOM.

    The samples are not the same, so neither are the masks: to start the whole scan half an interval later, without two
    positions, changes as much.
    """
    scan = replace(
        vendors.scan(),
        hu=integers(scans.jog),
        times_s=scans.slice_times_s,
        spacing_mm=tuple(scans.jog.grid.spacing_mm[1::-1].tolist()),
        step_mm=(0.0, 0.0, float(scans.jog.grid.spacing_mm[2])),
    )
    study = vendors.write(tmp_path / "study", vendors.datasets(scan, vendors.philips_jog(scan)))
    for name, case in (("at_once", scans.at_once), ("jog", scans.jog)):
        write_nifti(tmp_path / f"{name}.nii", integers(case), scan.affine, dt_s=INTERVAL_S)
    (tmp_path / "jog.json").write_text(json.dumps({"SliceTimesStart": scans.slice_times_s.tolist()}))
    inputs = [*(str(tmp_path / f"{name}.nii") for name in ("at_once", "jog")), str(study)]
    assert cli.main(["segment", *inputs, "--out", str(tmp_path / "results")]) == 0
    folder = tmp_path / "results"
    (of_study,) = (path.name for path in folder.glob("ctp-*"))
    at_once, jog, dicom = (
        nib.nifti1.load(folder / name / f"{name}_lesion.nii.gz").get_fdata() > 0
        for name in ("at_once", "jog", of_study)
    )
    np.testing.assert_array_equal(dicom, jog)
    assert at_once.sum() > 500
    assert 2 * (at_once & jog).sum() / (at_once.sum() + jog.sum()) >= 0.98
    record = json.loads((folder / "jog" / "jog_result.json").read_text())["frame_times"]
    assert record["slice_offsets_s"] == (OFFSETS_S - OFFSETS_S.mean()).tolist()


def integers(case: PhantomCase) -> np.ndarray:
    """A series as a scanner stores it: (columns, rows, slices, frames), whole HU."""
    return np.rint(case.series.hu.transpose(1, 2, 3, 0)).clip(-1000, 3000).astype(np.int16)
