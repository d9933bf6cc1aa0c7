"""What is drawn for a cohort: widths and heights of arterial curves, lengths of series, vendors' methods, delays."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from scripts.phantom.acquisition import frame_times_s
from scripts.phantom.case import sample_patient, sample_scan
from scripts.phantom.gamma_variate import gamma_variate, width_s
from scripts.phantom.hemodynamics import CurveTable
from scripts.phantom.lesion import Stroke, _reference_points_mm
from scripts.phantom.parameters import VENDOR_METHODS, ScanParameters, vendor_method


@pytest.fixture(scope="module")
def scans() -> list[ScanParameters]:
    return [sample_scan(np.random.SeedSequence(seed)) for seed in range(400)]


@given(shape=st.floats(1.0, 8.0), scale_s=st.floats(0.3, 4.0))
def test_width_is_where_the_curve_passes_half_of_its_maximum(shape: float, scale_s: float) -> None:
    def above_half(time_s: float) -> float:
        return float(gamma_variate(np.array([time_s]), 0.0, shape, scale_s)[0]) - 0.5

    peak_s = shape * scale_s
    rise_s, fall_s = brentq(above_half, 1e-6, peak_s), brentq(above_half, peak_s, 20 * (1 + peak_s))
    assert width_s(shape, scale_s) == pytest.approx(fall_s - rise_s, rel=1e-6)


def test_arterial_curves_are_4_to_12_s_wide_and_lower_where_wider(scans: list[ScanParameters]) -> None:
    widths_s = np.array([width_s(scan.bolus.shape, scan.bolus.scale_s) for scan in scans])
    peaks_hu = np.array([scan.bolus.peak_hu for scan in scans])
    assert 4.0 <= widths_s.min() < 4.8
    assert 11.0 < widths_s.max() <= 12.0
    assert 6.0 < np.median(widths_s) < 8.0
    inside = (peaks_hu > 80) & (peaks_hu < 450)
    slope = np.polyfit(np.log(widths_s[inside]), np.log(peaks_hu[inside]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.35)  # a constant area, but for what the limits leave out
    assert (peaks_hu >= 450).mean() < 0.12
    assert 200 < np.median(peaks_hu) < 280


def test_series_last_45_s_and_cut_off_few_late_and_wide_boluses(scans: list[ScanParameters]) -> None:
    lengths_s = np.array([frame_times_s(scan.acquisition)[-1] for scan in scans])
    assert lengths_s.min() >= 45.0
    tails = []
    for scan in scans[:100]:
        vein = CurveTable.build(scan.bolus, frame_times_s(scan.acquisition), 0.0).vein[0]
        tails.append(vein[-3:].mean() / vein.max())
    assert np.median(tails) < 0.15
    assert 0.0 < np.mean(np.array(tails) > 0.25) < 0.2


def test_vendors_spread_over_all_methods_and_settings(scans: list[ScanParameters]) -> None:
    drawn = Counter(scan.vendor.method for scan in scans)
    for method, (share, limits) in VENDOR_METHODS.items():
        assert drawn[method] / len(scans) == pytest.approx(share, abs=0.07)
        settings = [scan.vendor.regularization for scan in scans if scan.vendor.method == method]
        if limits is None:
            assert set(settings) == {None}
        else:
            low, high = limits
            assert low <= min(settings) < low + 0.1 * (high - low)
            assert high - 0.1 * (high - low) < max(settings) <= high
            assert np.median(settings) == pytest.approx((low + high) / 2, abs=0.15 * (high - low))


@pytest.mark.parametrize(
    ("position", "expected"),
    [(0.0, ("ssvd", 0.10)), (0.1, ("ssvd", 0.175)), (0.2, ("bcsvd", 0.05)), (0.35, ("bcsvd", 0.10))]
    + [(0.6, ("osvd", None)), (0.875, ("wiener", 0.125)), (0.9999999, ("wiener", 0.2))],
)
def test_one_position_decides_method_and_setting(position: float, expected: tuple[str, float | None]) -> None:
    method, setting = vendor_method(position)
    assert method == expected[0]
    assert setting == (None if expected[1] is None else pytest.approx(expected[1], abs=1e-6))


def test_severe_delays_reach_beyond_10_s_as_often_as_in_occlusions_of_large_vessels() -> None:
    points_mm = _reference_points_mm()[::10]
    ratios, longest_s = [], []
    for seed in range(40):
        parameters = sample_patient(np.random.SeedSequence(seed)).stroke
        if parameters.kind not in ("m1", "ica"):
            continue
        delay_s = Stroke(parameters).effect(points_mm).delay_s + 0.8  # the normal delay
        if (hypoperfused := (delay_s > 6).sum()) >= 8:  # 5 ml
            ratios.append((delay_s > 10).sum() / hypoperfused)
            longest_s.append(delay_s.max())
    assert len(ratios) >= 10
    assert 0.2 < np.median(ratios) < 0.5
    assert np.mean(np.array(ratios) >= 0.4) > 0.2
    assert max(longest_s) > 14
    assert np.median(longest_s) > 9
