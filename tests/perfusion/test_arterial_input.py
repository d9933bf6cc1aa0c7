"""Arteries and veins are told apart, and from what movement does beside bone."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from scripts.perfusion import ArterialInput, brain_mask, find_arterial_input
from scripts.perfusion.arterial_input import arterial_score
from scripts.perfusion.arterial_quality import arterial_quality
from scripts.perfusion.brain import away_from_bone
from scripts.perfusion.curve_features import curve_features
from scripts.perfusion.enhancement import arrival_frame
from scripts.perfusion.masked_grid import Spacing

from .curves import arterial_curve
from .head import N_FRAMES, SPACING_MM, head
from .sinus_head import SPACING_MM as SINUS_SPACING_MM
from .sinus_head import sinus_head

TIME_S = np.arange(N_FRAMES, dtype=float)


def found(series: torch.Tensor, spacing_mm: Spacing = SPACING_MM, dt_s: float = 1.0) -> ArterialInput:
    brain = brain_mask(series, spacing_mm)
    n_baseline = arrival_frame(series, brain & away_from_bone(series, spacing_mm), dt_s)
    return find_arterial_input(series, brain, n_baseline, dt_s, spacing_mm)


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


@pytest.mark.parametrize("seed", [1, 5, 21])
def test_the_venous_output_is_the_sinus_in_the_skull_not_a_late_artery(seed: int) -> None:
    drawn = sinus_head(seed)
    brain = brain_mask(drawn.series, SINUS_SPACING_MM)
    arterial = found(drawn.series, SINUS_SPACING_MM, drawn.dt_s)
    assert (brain.numpy() & (drawn.sinus > 0.5)).sum() < 0.3 * (drawn.sinus > 0.5).sum()
    assert (drawn.sinus[arterial.vof_mask.numpy()] > 0.5).all()
    assert arterial.vof_mask.sum() >= 4
    assert (drawn.artery[arterial.aif_mask.numpy()] > 0.1).all()
    assert float(arterial.aif_hu.sum()) * drawn.dt_s == pytest.approx(drawn.area_hu_s, rel=0.15)
    assert 0.05 < arterial.scale_sd / arterial.scale < 0.3


@pytest.mark.parametrize("seed", [1, 5, 21])
def test_without_a_sinus_no_late_artery_takes_its_place(seed: int) -> None:
    drawn = sinus_head(seed, with_sinus=False)
    arterial = found(drawn.series, SINUS_SPACING_MM, drawn.dt_s)
    assert not arterial.vof_mask.any()
    assert not arterial.vof_hu.any()
    assert arterial.scale == 1
    assert math.isnan(arterial.scale_sd)


@pytest.mark.parametrize("frames", [slice(14, 22), slice(12, 13)])
def test_bone_that_moves_in_through_the_slices_is_no_artery(frames: slice) -> None:
    series, _, artery = head(stripped=False)
    other = series.clone()
    other[:, 42:60, 60:80] = 900.0  # the next slice shows the base of the skull where this one shows the artery
    series[frames] = torch.where(torch.arange(2) == 1, other[frames], series[frames])
    arterial = found(series)
    assert artery[arterial.aif_mask].float().mean() > 0.7
    assert float(arterial.aif_hu.max() / arterial.scale) < 400


def test_frames_may_be_left_out_by_their_times() -> None:
    series, brain, artery = head(stripped=False)
    kept = torch.tensor([frame for frame in range(N_FRAMES) if frame not in (3, 15, 16, 25)])
    whole, some = (
        find_arterial_input(series[frames], brain, 4, frames.float(), SPACING_MM)
        for frames in (torch.arange(N_FRAMES), kept)
    )
    assert artery[some.aif_mask].all()
    areas = [
        float(torch.trapezoid(arterial.aif_hu / arterial.scale, frames.float()))
        for arterial, frames in ((whole, torch.arange(N_FRAMES)), (some, kept))
    ]
    assert areas[1] == pytest.approx(areas[0], rel=0.05)


def test_an_artery_may_be_only_where_it_is_allowed() -> None:
    series, brain, artery = head(stripped=True)
    arterial = find_arterial_input(series, brain, 4, 1.0, SPACING_MM, allowed=~artery)
    assert not (arterial.aif_mask & artery).any()


def test_quality_of_an_artery_is_measured_on_its_voxels() -> None:
    series, _, _ = head(stripped=False, noise_hu=0.5)
    arterial = found(series)
    quality = arterial_quality(series, arterial, 1.0)
    assert quality.peak_hu == pytest.approx(300, rel=0.1)
    fine_s = np.arange(0, 45, 0.01)
    curve = arterial_curve(fine_s)
    assert quality.fwhm_s == pytest.approx(np.ptp(fine_s[curve > curve.max() / 2]), abs=1.0)
    assert quality.ceiling_frames == 0
    assert quality.plateau_frames == 1


def test_a_clipped_series_is_told_by_the_frames_at_its_ceiling() -> None:
    series, _, _ = head(stripped=False, noise_hu=0.5)
    clipped = series.clamp_max(250)
    arterial = found(clipped)
    quality = arterial_quality(clipped, arterial, 1.0)
    assert quality.ceiling_frames == quality.plateau_frames == int((arterial_curve(TIME_S) + 45 > 251).sum())
    given = arterial_quality(clipped, arterial._replace(aif_mask=torch.zeros_like(arterial.aif_mask)), 1.0)
    assert (given.ceiling_frames, given.plateau_frames) == (0, 0)
