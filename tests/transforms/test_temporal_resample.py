import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.interpolate import interp1d

from scripts.transforms import TemporalResample, TemporalResampled


@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 99))
def test_agrees_with_scipy(length, frames, seed):
    series = np.random.default_rng(seed).normal(size=(length, 2, 3, 1)).astype(np.float32)
    expected = interp1d(np.arange(length), series, axis=0)(np.linspace(0, length - 1, frames))
    np.testing.assert_allclose(TemporalResample(frames)(series), expected, atol=1e-5)


def test_as_many_frames_as_before_changes_nothing():
    series = torch.rand(6, 3, 3, 2)
    assert torch.equal(TemporalResample(6)(series), series)


def test_keeps_the_affine():
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
    output = TemporalResampled("image")({"image": MetaTensor(torch.rand(20, 3, 3, 2), affine=affine)})
    assert output["image"].shape == (6, 3, 3, 2)
    assert torch.equal(output["image"].affine, affine)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="frames: expected at least 2, got 1"):
        TemporalResample(1)
    with pytest.raises(ValueError, match="with at least 2 frames, got shape"):
        TemporalResample()(torch.zeros(1, 2, 2, 2))


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=30), st.integers(2, 9))
def test_uneven_frames_agree_with_scipy(steps, frames):
    times_s = np.cumsum([2.0, *steps])
    series = np.random.default_rng(0).normal(size=(len(times_s), 2, 3, 1)).astype(np.float32)
    expected = interp1d(times_s, series, axis=0)(np.linspace(times_s[0], times_s[-1], frames).clip(*times_s[[0, -1]]))
    np.testing.assert_allclose(TemporalResample(frames)(series, times_s), expected, atol=1e-4)
    with pytest.raises(ValueError, match="times_s: expected"):
        TemporalResample(frames)(series, times_s[1:])
