"""Tmax without what truncation adds to it, for tissue of known delay."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts.perfusion import deconvolve
from scripts.perfusion.lateness import interpolate, tmax_lateness

from .curves import arterial_curve, tissue_curve

DELAYS_S = [0.0, 1.0, 2.3, 4.0, 5.7, 8.0]
# The model's residue function is exponential; the maximum of a long box, which is flat, may be read anywhere on it.
TOLERANCE_S = {"exponential": 0.5, "gamma": 1.5, "box": 2.5}


@given(x=st.lists(st.floats(-3, 12), min_size=1, max_size=9))
def test_interpolation_equals_numpy(x: list[float]) -> None:
    nodes, values = [0.0, 1.0, 4.0, 9.0], [3.0, -1.0, 0.5, 7.0]
    found = interpolate(torch.tensor(x), torch.tensor(nodes), torch.tensor(values))
    assert found.numpy() == pytest.approx(np.interp(x, nodes, values), abs=1e-4)


@pytest.mark.parametrize("dt_s", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["exponential", "gamma", "box"])
@pytest.mark.parametrize("mtt_s", [4.0, 8.0])
def test_tmax_is_the_delay_and_rises_with_it_to_half_a_frame(kind: str, mtt_s: float, dt_s: float) -> None:
    n_frames = int(70 / dt_s)
    aif = torch.from_numpy(arterial_curve(np.arange(n_frames) * dt_s)).float()
    tissue = np.stack([tissue_curve(kind, 60.0, mtt_s, delay_s, dt_s, n_frames) for delay_s in DELAYS_S])
    found = deconvolve(torch.from_numpy(tissue).float(), aif, dt_s, method="bcsvd")
    corrected = found.tmax - interpolate(found.mtt, *tmax_lateness(aif, dt_s))
    assert corrected.numpy() == pytest.approx(np.array(DELAYS_S), abs=TOLERANCE_S[kind])
    assert (corrected - corrected[0]).numpy() == pytest.approx(np.array(DELAYS_S), abs=0.5 * dt_s)


def test_lateness_grows_with_the_transit_time_and_the_width_of_the_bolus() -> None:
    time_s = np.arange(60.0)
    narrow = torch.from_numpy(arterial_curve(time_s)).float()
    wide = torch.from_numpy(arterial_curve(time_s / 1.5)).float()
    transit_s = torch.tensor([4.0, 12.0])
    short, long = interpolate(transit_s, *tmax_lateness(narrow, 1.0)).tolist()
    assert 0.5 < short <= long < 4
    assert interpolate(transit_s, *tmax_lateness(wide, 1.0))[0] > short
