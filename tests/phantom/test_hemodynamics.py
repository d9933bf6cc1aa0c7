from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from scripts.phantom.hemodynamics import (
    FINE_STEP_S,
    HEMATOCRIT_FACTOR,
    TISSUE_DENSITY_G_ML,
    CurveTable,
    arterial_curve,
    convolve_residue,
    gamma_variate,
    residue,
)
from scripts.phantom.parameters import BolusParameters

BOLUS = BolusParameters(
    arrival_s=6.0,
    peak_hu=250.0,
    shape=3.0,
    scale_s=1.5,
    recirculation_delay_s=9.0,
    recirculation_fraction=0.2,
    recirculation_widening=1.6,
    washout_fraction=0.05,
    residue="exponential",
    venous_transit_s=5.0,
    venous_gain=1.0,
)
SINGLE_PASS = replace(BOLUS, recirculation_fraction=0.0, washout_fraction=0.0)
FRAMES_S = np.arange(0.0, 60.0, 1.0)


def test_hematocrit_factor():
    assert pytest.approx(0.7333, abs=1e-4) == HEMATOCRIT_FACTOR


def test_gamma_variate_peaks_at_one_where_it_should():
    times_s = np.arange(0, 40, 0.001)
    curve = gamma_variate(times_s, 5.0, 3.0, 1.5)
    assert curve.max() == pytest.approx(1.0)
    assert times_s[np.argmax(curve)] == pytest.approx(5.0 + 4.5, abs=2e-3)
    assert (curve[times_s <= 5.0] == 0).all()


@pytest.mark.parametrize("peak_hu", [35.0, 450.0])
def test_arterial_curve_has_its_peak_and_a_recirculation(peak_hu):
    times_s = np.arange(0, 60, 0.05)
    bolus = replace(BOLUS, peak_hu=peak_hu)
    curve = arterial_curve(times_s, bolus)
    assert curve.max() == pytest.approx(peak_hu, rel=1e-6)
    single = arterial_curve(times_s, replace(SINGLE_PASS, peak_hu=peak_hu))
    late = times_s > 25.0
    assert curve[late].max() > single[late].max() + 0.05 * peak_hu
    assert (curve[times_s < 6.0] == 0).all()


@pytest.mark.parametrize("kind", ["exponential", "gamma", "box"])
@pytest.mark.parametrize("mtt_s", [2.0, 7.5])
def test_residue_starts_at_one_and_integrates_to_the_transit_time(kind, mtt_s):
    assert residue(np.zeros(1), mtt_s, kind)[0] == 1.0
    area, _ = integrate.quad(
        lambda t: float(residue(np.array([t]), mtt_s, kind)[0]), 0, 20 * mtt_s, points=[mtt_s], limit=200
    )
    assert area == pytest.approx(mtt_s, rel=1e-3)


def test_unknown_residue_is_named():
    with pytest.raises(ValueError, match="kind must be exponential, gamma or box, got 'triangle'"):
        residue(np.zeros(1), 4.0, "triangle")


def test_convolution_with_an_exponential_matches_its_closed_form():
    b, m = 1.7, 6.0
    times_s = np.arange(0, 60, FINE_STEP_S)
    k = 1 / b - 1 / m
    exact = np.exp(-times_s / m) * (1 / k**2 - np.exp(-k * times_s) * (times_s / k + 1 / k**2))
    result = convolve_residue(times_s * np.exp(-times_s / b), m, "exponential")
    np.testing.assert_allclose(result, exact, atol=0.004 * exact.max())


@settings(max_examples=25, deadline=None)
@given(
    cbf=st.floats(5, 90),
    mtt_s=st.floats(1.0, 8.0),
    delay_s=st.floats(0, 8),
    kind=st.sampled_from(["exponential", "gamma", "box"]),
)
def test_ratio_of_areas_is_the_blood_volume(cbf, mtt_s, delay_s, kind):
    frames_s = np.arange(0.0, 120.0, 0.5)
    table = CurveTable.build(replace(SINGLE_PASS, residue=kind), frames_s, 8.0)
    cbv = cbf * mtt_s / 60.0
    curve = table.tissue_curves(np.array([cbf]), np.array([cbv]), np.array([delay_s]))[0]
    measured = 100.0 * HEMATOCRIT_FACTOR / TISSUE_DENSITY_G_ML * curve.sum() / table.artery[0].sum()
    assert measured == pytest.approx(cbv, rel=0.01)


@pytest.mark.parametrize(("cbf", "cbv", "delay_s"), [(60.0, 4.0, 0.0), (22.0, 2.0, 1.3), (9.0, 1.8, 6.7)])
def test_tissue_curve_matches_numerical_integration(cbf, cbv, delay_s):
    table = CurveTable.build(BOLUS, FRAMES_S, 8.0)
    curve = table.tissue_curves(np.array([cbf]), np.array([cbv]), np.array([delay_s]))[0]
    mtt_s = 60.0 * cbv / cbf

    def exact(t: float) -> float:
        s = np.linspace(0.0, max(t - delay_s, 0.0), 4001)
        inner = arterial_curve(s, BOLUS) * np.exp(-(s[-1] - s) / mtt_s)
        return 1.04 / (0.55 / 0.75) * cbf / 6000.0 * float(np.trapezoid(inner, s))

    expected = np.array([exact(t) for t in FRAMES_S])
    np.testing.assert_allclose(curve, expected, atol=0.01 * expected.max())


def test_delay_shifts_curves():
    table = CurveTable.build(BOLUS, FRAMES_S, 5.0)
    for curves in (
        table.tissue_curves(np.full(2, 50.0), np.full(2, 4.0), np.array([0.0, 3.0])),
        table.vessel_curves(np.array([0.0, 3.0]), "artery"),
        table.vessel_curves(np.array([0.0, 3.0]), "vein"),
    ):
        np.testing.assert_allclose(curves[1, 3:], curves[0, :-3], atol=1e-3)


def test_vein_follows_the_artery_with_the_same_area():
    table = CurveTable.build(SINGLE_PASS, np.arange(0.0, 120.0, 0.5), 0.0)
    artery, vein = table.artery[0], table.vein[0]
    assert vein.sum() == pytest.approx(artery.sum(), rel=0.01)
    assert np.argmax(vein) > np.argmax(artery)
    assert vein.max() < artery.max()


def test_no_flow_gives_no_enhancement():
    table = CurveTable.build(BOLUS, FRAMES_S, 5.0)
    assert not table.tissue_curves(np.zeros(2), np.array([0.0, 4.0]), np.zeros(2)).any()
