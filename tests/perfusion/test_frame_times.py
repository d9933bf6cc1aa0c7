"""Curves are described by the times of their frames, even or not."""

import numpy as np
import pytest
import torch
from scipy.signal import peak_widths

from scripts.perfusion.curve_features import curve_features
from scripts.perfusion.enhancement import arrival_frame, frame_times
from scripts.perfusion.examination import even_times

from .curves import arterial_curve
from .head import N_FRAMES, head

EVERY_SECOND_LATER = np.r_[np.arange(0.0, 18.0), np.arange(18.0, 60.0, 2.0)]


def test_an_interval_is_the_times_it_stands_for() -> None:
    curves = torch.from_numpy(arterial_curve(np.arange(40) * 1.5)).float()[:, None]
    later = torch.arange(40) * 1.5 + 7
    for of_interval, of_times in zip(curve_features(curves, 1.5), curve_features(curves, later), strict=True):
        assert torch.allclose(of_interval, of_times, atol=1e-4)


def test_uneven_frames_describe_the_curve_that_they_sample() -> None:
    fine_s = np.arange(0, 60, 0.01)
    fine = arterial_curve(fine_s)
    features = curve_features(
        torch.from_numpy(arterial_curve(EVERY_SECOND_LATER)).float()[:, None], torch.from_numpy(EVERY_SECOND_LATER)
    )
    assert features.area_hu_s.item() == pytest.approx(np.trapezoid(fine, fine_s), rel=0.02)
    assert features.peak_s.item() == pytest.approx(fine_s[fine.argmax()], abs=0.6)
    assert features.width_s.item() == pytest.approx(peak_widths(fine, [fine.argmax()])[0][0] * 0.01, abs=1.0)
    assert features.roughness.item() < 0.1


def test_a_straight_line_is_smooth_at_any_times() -> None:
    times_s = torch.tensor([0.0, 1.0, 2.0, 5.0, 6.5, 12.0])
    assert curve_features(3 * times_s[:, None], times_s).roughness.item() == pytest.approx(0, abs=1e-5)


def test_frames_left_out_do_not_move_the_arrival() -> None:
    series, brain, _ = head(stripped=True, noise_hu=0.5)
    usual = arrival_frame(series, brain, 1.0)
    kept = [frame for frame in range(N_FRAMES) if frame not in (1, 2, 20, 21, 22, 30)]
    assert arrival_frame(series[kept], brain, torch.tensor(kept, dtype=torch.float32)) == usual - 2


@pytest.mark.parametrize("dt_s", [0.5, 0.8, 1.0, 1.7, 2.0, 3.0])
def test_arrival_is_two_seconds_before_the_vessels_rise(dt_s: float) -> None:
    series = torch.zeros(40, 4, 4, 2)
    series[20:30] = 100.0
    before_s = np.arange(20) * dt_s
    expected = int((before_s <= 20 * dt_s - 2.0 + 1e-6).sum()) - 1
    assert arrival_frame(series, torch.ones(4, 4, 2, dtype=torch.bool), dt_s) == expected


def test_a_gap_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gap in the series, got 1e\+08 s between the frames 18 and 19.*seconds"):
        even_times(torch.tensor([*range(19), 1e8]))


@pytest.mark.parametrize("times_s", [[0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, float("nan")], 0.0, float("inf")])
def test_times_that_are_none_are_refused(times_s: float | list[float]) -> None:
    with pytest.raises(ValueError, match="times_s must be"):
        frame_times(times_s, 3)
