"""Statistics over time, whatever the order in memory, the smoothing of frames and the growing of masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from scripts.perfusion.brain import grow
from scripts.perfusion.frames import mean_over_time, over_time, range_over_time
from scripts.perfusion.masked_grid import MaskedGrid


@given(order=st.permutations(range(4)), dtype=st.sampled_from([torch.float32, torch.int16]), seed=st.integers(0, 9))
def test_statistics_do_not_depend_on_the_order_in_memory(order: list[int], dtype: torch.dtype, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-1000, 3000, (5, 4, 3, 2))
    stored = torch.from_numpy(values).to(dtype).permute(order).contiguous()
    series = stored.permute([order.index(axis) for axis in range(4)])
    assert mean_over_time(series).numpy() == pytest.approx(values.mean(0), rel=1e-5)
    assert mean_over_time(series).dtype == torch.float32
    lowest, highest = range_over_time(series)
    assert (lowest.numpy() == values.min(0)).all()
    assert (highest.numpy() == values.max(0)).all()


def test_reduction_gets_every_frame_once() -> None:
    series = torch.rand(6, 3, 4, 5).permute(0, 3, 1, 2)
    assert torch.equal(over_time(series, lambda frames: frames[2]), series[2])


@pytest.mark.parametrize("radius_mm", [0.5, 3.0, 7.0])
def test_growing_is_dilation_by_a_rectangle_of_pixels(radius_mm: float) -> None:
    mask = np.random.default_rng(0).random((20, 30, 3)) > 0.97
    rows, columns = max(1, round(radius_mm / 2.0)), max(1, round(radius_mm / 1.0))
    expected = ndimage.binary_dilation(mask, np.ones((2 * rows + 1, 2 * columns + 1, 1)))
    assert (grow(torch.from_numpy(mask), radius_mm, (2.0, 1.0, 5.0)).numpy() == expected).all()


@pytest.mark.parametrize("sigma_mm", [0.0, 2.0])
def test_an_empty_mask_has_no_curves(sigma_mm: float) -> None:
    grid = MaskedGrid(torch.zeros(5, 4, 3, dtype=torch.bool))
    assert grid.curves(torch.rand(7, 5, 4, 3), sigma_mm).shape == (7, 0)


def test_smoothing_in_blocks_is_that_of_scipy() -> None:
    frames = torch.rand(2, 130, 61, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(130, 61, 3, dtype=torch.bool)
    mask[4:126, 3:59] = True
    smooth = MaskedGrid(mask).curves(frames, 2.0, (0.9, 1.1, 5.0))
    sigma, radius = (2.0 / 0.9, 2.0 / 1.1, 0), (6, 5, 0)  # within three standard deviations
    inside = mask.numpy().astype(np.float32)
    weight = ndimage.gaussian_filter(inside, sigma, mode="constant", radius=radius)
    for frame, values in zip(frames.numpy(), smooth, strict=True):
        expected = ndimage.gaussian_filter(frame * inside, sigma, mode="constant", radius=radius) / weight.clip(1e-6)
        found = MaskedGrid(mask).volume(values).numpy()
        assert found[mask.numpy()] == pytest.approx(expected[mask.numpy()], rel=1e-4)
