"""The bolus on its way: later, wider, and how late it comes to tissue."""

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from scripts.perfusion.bolus_shapes import correlation, delayed, dispersed
from scripts.perfusion.masked_grid import MaskedGrid
from scripts.perfusion.tissue_delay import TissueDelay, best_lag_s

from .curves import arterial_curve, tissue_curve

EVEN_S = np.arange(60.0)
UNEVEN_S = np.r_[np.arange(0.0, 30.0), np.arange(30.0, 60.0, 1.5)]


@pytest.mark.parametrize("times_s", [EVEN_S, UNEVEN_S])
@pytest.mark.parametrize("delay_s", [0.0, 2.0, 6.5])
def test_a_delayed_curve_is_the_same_one_later(times_s: np.ndarray, delay_s: float) -> None:
    times = torch.from_numpy(times_s).float()
    curve = torch.from_numpy(arterial_curve(times_s)).float()
    later = delayed(curve, times, torch.tensor([delay_s]))[:, 0]
    expected = np.interp(times_s - delay_s, times_s, arterial_curve(times_s), left=0)
    assert later.numpy() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("times_s", [EVEN_S, UNEVEN_S])
def test_dispersion_is_a_convolution_with_an_exponential(times_s: np.ndarray) -> None:
    fine_s = np.arange(0, 60, 0.01)
    expected = fftconvolve(arterial_curve(fine_s), np.exp(-fine_s / 6) / 6)[: len(fine_s)] * 0.01
    times = torch.from_numpy(times_s).float()
    wide = dispersed(torch.from_numpy(arterial_curve(times_s)).float(), times, 6.0)
    assert correlation(wide[:, None], torch.from_numpy(np.interp(times_s, fine_s, expected)).float()[:, None]) > 0.99
    same = dispersed(wide, times, 0.0)
    assert torch.allclose(same, wide, atol=1e-3)


@pytest.mark.parametrize("delay_s", [0.0, 3.0, 8.0])
def test_the_lag_of_tissue_is_its_delay(delay_s: float) -> None:
    curve = torch.from_numpy(tissue_curve("exponential", 50.0, 4.0, delay_s, 1.0, 60)).float()
    lag_s, likeness = best_lag_s(curve[:, None], torch.from_numpy(arterial_curve(EVEN_S)).float(), torch.arange(60.0))
    assert lag_s.item() == pytest.approx(delay_s, abs=0.75)
    assert likeness.item() > 0.98


def test_surroundings_are_late_where_the_tissue_is() -> None:
    late = torch.zeros(64, 64, 2, dtype=torch.bool)
    late[:28] = True
    bare = torch.zeros_like(late)
    bare[:, :12, 1] = True  # no flow at all
    curves = [torch.from_numpy(tissue_curve("exponential", 50.0, 4.0, delay, 1.0, 60)).float() for delay in (0.5, 7.0)]
    series = torch.where(late, curves[1][:, None, None, None], curves[0][:, None, None, None]) * ~bare + 30
    series += torch.randn(series.shape, generator=torch.Generator().manual_seed(0))
    tissue = torch.ones_like(late)
    aif = torch.from_numpy(arterial_curve(EVEN_S)).float()
    delay = TissueDelay(series, tissue, aif, 4, torch.arange(60.0), (2.0, 2.0, 8.0))
    at = torch.zeros_like(late)
    at[4, 40, 0], at[60, 40, 0], at[60, 2, 1] = True, True, True
    grid = MaskedGrid(at)
    axes = torch.meshgrid(*map(torch.arange, at.shape), indexing="ij")
    places = grid.curves(torch.stack(axes)).T.int().tolist()
    found = {tuple(place): index for index, place in enumerate(places)}
    around = delay.around(grid)
    in_late, in_time, in_bare = (found[place] for place in ((4, 40, 0), (60, 40, 0), (60, 2, 1)))
    assert around.late_share[in_late] > 0.9
    assert around.lag_s[in_late].item() == pytest.approx(7.0, abs=1)
    assert around.late_share[in_time] < 0.1
    assert around.lag_s[in_time].item() == pytest.approx(0.5, abs=1)
    assert around.late_share[in_bare] > 0.7
