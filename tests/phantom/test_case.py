from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from scripts.phantom.acquisition import _rigid, baseline_hu
from scripts.phantom.anatomy import Deformation, build_anatomy
from scripts.phantom.case import sample_patient, sample_scan, scan_grid, simulate_case
from scripts.phantom.dwi import simulate_dwi
from scripts.phantom.fields import correlated_noise
from scripts.phantom.gamma_variate import width_s
from scripts.phantom.geometry import Grid
from scripts.phantom.lesion import Stroke
from scripts.phantom.parameters import ConfounderParameters
from scripts.phantom.tissue import OLD_INFARCT_FLOW, build_tissue

from .conftest import MATRIX


@pytest.fixture(scope="module")
def head(m1_patient, quiet_scan):
    deformation = Deformation(m1_patient.subject, quiet_scan.pose)
    stroke = Stroke(m1_patient.stroke)
    grid = scan_grid(quiet_scan, deformation, stroke, MATRIX)
    anatomy = build_anatomy(grid, deformation, m1_patient.subject)
    return anatomy, stroke, build_tissue(anatomy, m1_patient, stroke)


def test_shapes_and_types(m1_case):
    shape = (MATRIX, MATRIX, 8)
    assert m1_case.grid.shape == shape
    assert m1_case.series.hu.shape == (50, *shape)
    assert m1_case.series.hu.dtype == np.int16
    for volume in (*m1_case.maps[:4], m1_case.dwi):
        assert volume.shape == shape
        assert volume.dtype == np.float32
        assert np.isfinite(volume).all()
    assert m1_case.label.dtype == bool


def test_maps_are_zero_outside_the_brain_and_within_limits(m1_case, quiet_scan):
    outside = ~m1_case.truth["brain"]
    limits = (250.0, quiet_scan.vendor.cbv_limit_ml_100g, quiet_scan.vendor.mtt_limit_s, 25.0)
    for volume, limit in zip(m1_case.maps[:4], limits, strict=True):
        assert not volume[outside].any()
        assert volume.min() >= 0
        assert 0 < volume.max() <= limit


def test_attenuation_of_tissue_bone_and_air(m1_case):
    first = m1_case.series.hu[0].astype(float)
    assert first.min() == pytest.approx(-1000, abs=5)
    assert 600 < first.max() < 1700
    assert 25 < np.median(first[m1_case.truth["brain"]]) < 40


def test_maps_follow_the_truth_where_the_signal_is_clean(m1_case):
    """Away from vessels the vendor's values agree with the true ones but for its smoothing and regularization."""
    truth = m1_case.truth
    tissue = (truth["cbf"] > 8.0) & ~ndimage.binary_dilation(truth["vessels"] > 0.05, np.ones((3, 3, 1)))
    for name, tolerance in (("cbf", 0.35), ("cbv", 0.25), ("mtt", 0.5)):
        measured, true = getattr(m1_case.maps, name)[tissue], truth[name][tissue]
        assert np.median(measured / true) == pytest.approx(1.0, abs=tolerance)
    for name in ("cbf", "cbv"):
        assert np.corrcoef(getattr(m1_case.maps, name)[tissue], truth[name][tissue])[0, 1] > 0.65
    delayed, prompt = (
        np.median(m1_case.maps.tmax[tissue & region]) for region in (truth["tmax"] > 5, truth["tmax"] < 2)
    )
    assert delayed > prompt + 2.0


@pytest.mark.parametrize("method", ["ssvd", "bcsvd", "osvd", "wiener"])
def test_flow_of_every_vendor_is_near_the_truth_with_a_broad_bolus(m1_patient, quiet_scan, method):
    """An arterial curve 11 s wide, whose spectrum holds little of the residue's."""
    bolus = replace(quiet_scan.bolus, shape=3.0, scale_s=11.0 / width_s(3.0, 1.0))
    vendor = replace(quiet_scan.vendor, method=method, regularization=None)
    acquisition = replace(quiet_scan.acquisition, n_frames=60, noise_hu=4.0)
    scan = replace(quiet_scan, bolus=bolus, vendor=vendor, acquisition=acquisition)
    case = simulate_case(m1_patient, replace(scan, grid=replace(scan.grid, n_slices=4)), MATRIX)
    truth = case.truth
    healthy = (truth["core"] + truth["penumbra"] < 0.05) & (truth["cbf"] > 30) & (truth["vessels"] < 0.05)
    assert 0.4 < np.median(case.maps.cbf[healthy] / truth["cbf"][healthy]) < 1.6


def test_label_is_where_flow_is_low_and_dwi_bright(m1_case):
    label, truth = m1_case.label, m1_case.truth
    assert label.any()
    healthy = truth["brain"] & (truth["core"] < 0.05) & (truth["cbf"] > 15)
    assert truth["cbf"][label].mean() < 0.5 * truth["cbf"][healthy].mean()
    assert m1_case.dwi[label].mean() > 1.25 * m1_case.dwi[healthy].mean()
    assert m1_case.description["lesion_volume_ml"] == pytest.approx(label.sum() * m1_case.grid.voxel_volume_ml)


def test_truth_obeys_the_central_volume_theorem(m1_case):
    truth = m1_case.truth
    flowing = truth["cbf"] > 1
    np.testing.assert_allclose(truth["mtt"][flowing], 60 * truth["cbv"][flowing] / truth["cbf"][flowing], rtol=1e-4)
    assert not (truth["core"] + truth["penumbra"] > 1 + 1e-5).any()


def test_without_a_stroke_the_label_is_empty(m1_patient, quiet_scan):
    patient = replace(m1_patient, stroke=replace(m1_patient.stroke, kind="none"))
    case = simulate_case(patient, quiet_scan, 32)
    assert not case.label.any()
    assert case.description["lesion_volume_ml"] == 0.0
    assert not case.truth["core"].any()


def test_two_scans_of_a_patient_show_the_same_stroke(m1_patient):
    first, second = (
        simulate_case(m1_patient, replace(scan, grid=replace(scan.grid, n_slices=16, slice_spacing_mm=6.0)), 48)
        for scan in (sample_scan(np.random.SeedSequence(seed)) for seed in (1, 2))
    )
    assert first.series.hu.shape != second.series.hu.shape or (first.series.hu != second.series.hu).any()
    volumes = [case.description["lesion_volume_ml"] for case in (first, second)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.3)


def test_orientation_changes_the_array_and_not_the_world(m1_patient, quiet_scan):
    def canonical(orientation: str) -> np.ndarray:
        scan = replace(quiet_scan, grid=replace(quiet_scan.grid, orientation=orientation))
        case = simulate_case(m1_patient, scan, 48)
        assert "".join(nib.aff2axcodes(case.grid.affine)) == orientation
        image = nib.Nifti1Image(case.truth["tmax"], case.grid.affine)
        return np.asarray(nib.as_closest_canonical(image).dataobj)

    reference, flipped = canonical("RAS"), canonical("LPS")
    assert np.corrcoef(reference.ravel(), flipped.ravel())[0, 1] > 0.97


def test_oblique_grids_put_the_lesion_at_the_same_place_in_the_world(m1_patient, quiet_scan):
    def center_mm(tilt_deg: tuple[float, float, float]) -> np.ndarray:
        grid = replace(quiet_scan.grid, tilt_deg=tilt_deg, n_slices=18, slice_spacing_mm=6.0)
        case = simulate_case(m1_patient, replace(quiet_scan, grid=grid), 48)
        return nib.affines.apply_affine(case.grid.affine, np.argwhere(case.label)).mean(axis=0)

    assert np.linalg.norm(center_mm((0.0, 0.0, 0.0)) - center_mm((14.0, 2.0, -3.0))) < 6.0


def test_matrix_keeps_the_field_of_view(m1_patient, quiet_scan):
    small, large = (simulate_case(m1_patient, quiet_scan, matrix) for matrix in (32, 64))
    assert small.grid.spacing_mm[0] == pytest.approx(2 * large.grid.spacing_mm[0])
    assert small.grid.spacing_mm[2] == large.grid.spacing_mm[2]
    assert small.description["lesion_volume_ml"] == pytest.approx(large.description["lesion_volume_ml"], rel=0.25)


def test_matrix_must_be_sensible(m1_patient, quiet_scan):
    with pytest.raises(ValueError, match="matrix must be at least 16, got 8"):
        simulate_case(m1_patient, quiet_scan, 8)


@pytest.mark.parametrize("correlation_px", [0.5, 0.9])
def test_noise_has_unit_variance_and_the_correlation_of_its_kernel(correlation_px):
    noise = correlated_noise((12, 128, 128), correlation_px, np.random.default_rng(0), axes=(1, 2))
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    neighbors = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    taps = np.arange(-3, 4)
    kernel = np.exp(-0.5 * (taps / correlation_px) ** 2)
    assert neighbors == pytest.approx((kernel[1:] * kernel[:-1]).sum() / (kernel**2).sum(), abs=0.02)
    frames = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert abs(frames) < 0.02


@pytest.mark.parametrize("noise_hu", [2.0, 8.0, 16.0])
def test_noise_of_a_series_is_the_one_asked_for(m1_patient, quiet_scan, noise_hu):
    acquisition = replace(quiet_scan.acquisition, noise_hu=noise_hu, noise_correlation_px=0.6)
    case = simulate_case(m1_patient, replace(quiet_scan, acquisition=acquisition), MATRIX)
    before_contrast = case.series.hu[:7].astype(float)
    measured = before_contrast.std(axis=0, ddof=1)[case.truth["brain"]]
    # A pixel of a 64 matrix gathers the photons of 16 pixels, but clinical noise does not fall below 2 HU.
    expected_hu = max(noise_hu * MATRIX / 256, 2.0)
    assert np.sqrt((measured**2).mean()) == pytest.approx(expected_hu, rel=0.15)


def test_noise_at_the_full_matrix_is_the_one_asked_for(m1_patient, quiet_scan):
    acquisition = replace(quiet_scan.acquisition, noise_hu=6.0, n_frames=43)
    grid = replace(quiet_scan.grid, n_slices=2)
    case = simulate_case(m1_patient, replace(quiet_scan, acquisition=acquisition, grid=grid))
    measured = case.series.hu[:7].astype(float).std(axis=0, ddof=1)[case.truth["brain"]]
    assert np.sqrt((measured**2).mean()) == pytest.approx(6.0, rel=0.1)


def test_skull_stripped_series_is_zero_outside_the_brain(m1_patient, quiet_scan):
    scan = replace(quiet_scan, acquisition=replace(quiet_scan.acquisition, skull_stripped=True, noise_hu=4.0))
    case = simulate_case(m1_patient, scan, 48)
    assert not case.series.hu[:, ~case.truth["brain"]].any()


def test_motion_shifts_and_rotates():
    image = np.zeros((21, 31, 2), dtype=np.float32)
    image[10, 15] = 1.0
    image[10, 25, 1] = 1.0
    np.testing.assert_allclose(_rigid(image, np.zeros(2), 0.0), image, atol=1e-4)
    shifted = _rigid(image, np.array([2.0, -3.0]), 0.0)
    assert np.unravel_index(shifted[..., 0].argmax(), (21, 31)) == (12, 12)
    turned = _rigid(image, np.zeros(2), np.pi / 2)[..., 1]
    center = np.array([10, 15])
    places = {tuple(int(v) for v in place - center) for place in np.argwhere(turned > 0.5)}
    assert (0, 0) in places
    assert places & {(10, 0), (-10, 0)}


def test_motion_changes_the_series(m1_patient, quiet_scan, m1_case):
    acquisition = replace(quiet_scan.acquisition, drift_mm=0.4, jerk_mm=1.2, jerk_deg=1.0)
    moved = simulate_case(m1_patient, replace(quiet_scan, acquisition=acquisition), MATRIX)
    difference = np.abs(moved.series.hu.astype(int) - m1_case.series.hu).max(axis=(1, 2, 3))
    assert (difference > 50).any()
    assert difference[0] < difference.max()


def test_old_infarct_has_little_flow_and_no_label(head, m1_patient):
    anatomy, stroke, before = head
    confounders = ConfounderParameters(18.0, 7, 0.0, "right", 1.0, 0.0)
    after = build_tissue(anatomy, replace(m1_patient, confounders=confounders), stroke)
    defect = after.old_infarct > 0.99
    assert defect.any()
    np.testing.assert_allclose(after.cbf[defect], before.cbf[defect] * OLD_INFARCT_FLOW, rtol=0.1, atol=0.1)
    assert after.lesion[defect].max() < 0.02
    assert after.attenuation_hu[defect].mean() < 20


def test_carotid_delay_is_one_sided_and_spares_flow(head, m1_patient):
    anatomy, stroke, before = head
    confounders = ConfounderParameters(0.0, 0, 4.0, "right", 0.95, 0.0)
    after = build_tissue(anatomy, replace(m1_patient, confounders=confounders), stroke)
    x_mm, y_mm = anatomy.mni_mm.reshape(-1, 3)[after.voxels, :2].T
    added_s = after.delay_s - before.delay_s
    assert added_s[(x_mm > 15) & (y_mm > -30)].min() > 3.0
    assert added_s[x_mm < -15].max() < 0.2
    np.testing.assert_array_equal(after.lesion, before.lesion)
    assert (after.cbf / np.maximum(before.cbf, 1e-6))[before.cbf > 1].min() > 0.94


def test_leukoaraiosis_lowers_white_matter_around_the_ventricles(head, m1_patient):
    anatomy, stroke, before = head
    confounders = ConfounderParameters(0.0, 3, 0.0, "right", 1.0, 1.0)
    after = build_tissue(anatomy, replace(m1_patient, confounders=confounders), stroke)
    affected = after.leukoaraiosis > 0.5
    assert affected.any()
    assert anatomy.white.reshape(-1)[after.voxels][affected].min() > 0.3
    assert (after.cbf < before.cbf)[affected].all()
    assert (after.attenuation_hu < before.attenuation_hu)[affected].all()


def test_baseline_does_not_depend_on_the_bolus(head, m1_patient, quiet_scan, m1_case):
    anatomy, _, tissue = head
    baseline = baseline_hu(anatomy, tissue, m1_patient.subject, quiet_scan.acquisition)
    np.testing.assert_allclose(m1_case.series.hu[0], baseline, atol=1.0)


def test_dwi_noise_is_rician(head, quiet_scan):
    anatomy, _, tissue = head
    parameters = replace(quiet_scan.dwi, residual_scalp=0.0, noise=0.05, gain=200.0)
    dwi = simulate_dwi(anatomy, tissue, parameters, 4.0)
    background = dwi[anatomy.outside_mm > 25.0]
    # Without signal a Rician variable is Rayleigh: mean / standard deviation = sqrt(pi / (4 - pi)) = 1.913.
    assert background.mean() / background.std() == pytest.approx(1.913, rel=0.08)
    assert background.mean() == pytest.approx(200 * 0.05 * np.sqrt(np.pi / 2), rel=0.2)


def test_dwi_scales_with_its_gain(head, quiet_scan):
    anatomy, _, tissue = head
    one, two = (simulate_dwi(anatomy, tissue, replace(quiet_scan.dwi, gain=gain), 4.0) for gain in (100.0, 200.0))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)


def test_sampled_scans_stay_in_the_ranges_of_isles():
    scans = [sample_scan(np.random.SeedSequence(seed)) for seed in range(400)]
    slices = np.array([scan.grid.n_slices for scan in scans])
    spacing = np.array([scan.grid.slice_spacing_mm for scan in scans])
    assert slices.min() >= 2
    assert slices.max() <= 22
    assert 4.3 < slices.mean() < 6.3
    assert spacing.min() >= 4
    assert spacing.max() <= 12
    assert 8.5 < spacing.mean() < 10.5
    for scan in scans:
        assert 43 <= scan.acquisition.n_frames <= 64
        assert 1.0 <= scan.acquisition.frame_interval_s <= 2.0
        assert 0.80 <= scan.grid.pixel_mm <= 1.04
        assert 2.0 <= scan.acquisition.noise_hu <= 8.0
        assert 35.0 <= scan.bolus.peak_hu <= 450.0
        assert scan.bolus.arrival_s >= 5 * scan.acquisition.frame_interval_s
    assert {scan.grid.orientation for scan in scans} == {"RAS", "LPS", "LAS", "RPS"}
    assert {scan.acquisition.skull_stripped for scan in scans} == {True, False}


def test_sampling_is_reproducible():
    assert sample_patient(np.random.SeedSequence(4)) == sample_patient(np.random.SeedSequence(4))
    assert sample_patient(np.random.SeedSequence(4)) != sample_patient(np.random.SeedSequence(5))
    assert sample_scan(np.random.SeedSequence(4)) == sample_scan(np.random.SeedSequence(4))


def test_slab_without_brain_gives_empty_maps(m1_patient, quiet_scan, monkeypatch):
    far = Grid.axial((32, 32, 2), (4.0, 4.0, 5.0), (0.0, 0.0, 4000.0))
    monkeypatch.setattr("scripts.phantom.case.scan_grid", lambda *_: far)
    case = simulate_case(m1_patient, quiet_scan, 32)
    assert not case.maps.cbf.any()
    assert not case.label.any()
