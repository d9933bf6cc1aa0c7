"""Arteries and veins are told apart, and from what movement does beside bone."""

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from scripts.perfusion import ArterialInput, brain_mask, find_arterial_input
from scripts.perfusion.arterial_input import arterial_score
from scripts.perfusion.brain import away_from_bone
from scripts.perfusion.curve_features import curve_features
from scripts.perfusion.enhancement import arrival_frame

from .curves import arterial_curve
from .head import N_FRAMES, SPACING_MM, head

TIME_S = np.arange(N_FRAMES, dtype=float)


def found(series: torch.Tensor) -> ArterialInput:
    brain = brain_mask(series, SPACING_MM)
    n_baseline = arrival_frame(series, brain & away_from_bone(series, SPACING_MM), 1.0)
    return find_arterial_input(series, brain, n_baseline, 1.0, SPACING_MM)


def with_vessel(series: torch.Tensor, place: tuple[slice, slice], curve: np.ndarray) -> torch.Tensor:
    series = series.clone()
    series[(slice(None), *place)] = 45 + torch.from_numpy(curve).float()[:, None, None, None]
    return series


def test_larger_arteries_beyond_an_occlusion_are_left_for_small_ones_in_time() -> None:
    series, _, artery = head(stripped=False)
    series[:, artery] = 45 + 0.5 * (series[:, artery] - 45)  # half of the voxel is artery
    late = with_vessel(series, (slice(20, 26), slice(60, 66)), arterial_curve(TIME_S - 3))
    assert artery[found(late).aif_mask].all()


def test_noise_does_not_make_a_sinus_the_smoothest_artery() -> None:
    dt_s = 2.0
    time_s = np.arange(0.0, 60.0, dt_s)
    transit = np.exp(-time_s / 3)
    artery = arterial_curve(time_s, peak_hu=110.0)
    sinus = 1.3 * fftconvolve(arterial_curve(time_s - 1.0, peak_hu=110.0), transit / transit.sum())[: len(time_s)]
    noise = np.random.default_rng(0).normal(size=(len(time_s), 200)) * np.repeat([15.0, 10.0], 100)
    curves = np.concatenate([np.tile(artery, (100, 1)), np.tile(sinus, (100, 1))]).T + noise
    score = arterial_score(curve_features(torch.from_numpy(curves).float(), dt_s))
    assert (score.topk(8).indices < 100).all()


def test_bone_that_moves_is_no_artery() -> None:
    series, _, artery = head(stripped=False)
    series[14:22] = series[14:22].roll((1, 1), dims=(1, 2))
    assert artery[found(series).aif_mask].float().mean() > 0.7


def test_partial_volume_is_made_up_for_by_a_vein_that_widens_the_bolus() -> None:
    series, _, artery = head(stripped=False)
    series[:, artery] = 45 + 0.4 * (series[:, artery] - 45)
    transit = np.exp(-TIME_S / 5)
    vein = fftconvolve(arterial_curve(TIME_S - 2), transit / transit.sum())[:N_FRAMES]
    arterial = found(with_vessel(series, (slice(38, 43), slice(12, 16)), vein))
    assert arterial.vof_mask[38:43, 12:16].sum() == arterial.vof_mask.sum() > 0
    assert arterial.scale == pytest.approx(2.5, rel=0.15)
    assert arterial.aif_hu.sum().item() == pytest.approx(arterial_curve(TIME_S).sum(), rel=0.15)


@pytest.mark.parametrize("background", [float("nan"), -1024.0])
def test_a_background_of_any_value_changes_nothing(background: float) -> None:
    series, brain, _ = head(stripped=True)
    expected = found(series)
    series[:, ~brain] = background
    assert torch.equal(found(series).aif_mask, expected.aif_mask)
    assert torch.equal(brain_mask(series, SPACING_MM), brain_mask(head(stripped=True)[0], SPACING_MM))
