"""The joint bilateral filter against one by scipy, and what it keeps."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from scripts.perfusion.filters import bilateral_smooth
from scripts.perfusion.masked_grid import MaskedGrid

SPACING_MM = (1.0, 1.0, 5.0)
INSIDE = torch.ones(48, 40, 1, dtype=torch.bool)


def smoothed(values: torch.Tensor, amount: torch.Tensor, width: float, sigma_mm: float) -> torch.Tensor:
    """Volumes (H, W, D) smoothed."""
    grid = MaskedGrid(INSIDE)
    rows = bilateral_smooth(
        grid, grid.curves(values[None]), grid.curves(amount[None])[0], width, sigma_mm, SPACING_MM, INSIDE
    )
    return grid.volume(rows)[0]


def test_alike_everywhere_is_a_gaussian() -> None:
    values = torch.rand(INSIDE.shape, generator=torch.Generator().manual_seed(0))
    found = smoothed(values, torch.ones(INSIDE.shape), 0.2, 2.0)
    weight = gaussian_filter(np.ones(INSIDE.shape[:2]), 2.0, mode="constant", truncate=3)
    expected = gaussian_filter(values[..., 0].numpy(), 2.0, mode="constant", truncate=3) / weight
    assert found[..., 0].numpy() == pytest.approx(expected, abs=5e-3)


def test_a_border_of_amounts_is_not_crossed_and_noise_is_smoothed() -> None:
    starved = torch.zeros(INSIDE.shape)
    starved[20:30, 15:25] = 1
    noise = 0.2 * torch.randn(INSIDE.shape, generator=torch.Generator().manual_seed(1))
    found = smoothed(8 * starved + noise, 1 - 0.9 * starved, 0.15, 3.0)
    inside = starved > 0
    assert found[inside].numpy() == pytest.approx(8, abs=0.15)
    assert found[~inside].numpy() == pytest.approx(0, abs=0.15)


def test_what_is_half_as_high_has_four_times_the_say() -> None:
    low = torch.zeros(INSIDE.shape)
    low[::2, 1::2] = low[1::2, ::2] = 1
    found = smoothed(low, 1 - 0.5 * low, 100.0, 3.0)
    assert found[12:-12, 12:-12].numpy() == pytest.approx(4 / 5, abs=0.01)


def test_no_smoothing_leaves_the_values() -> None:
    values = torch.rand(INSIDE.shape)
    assert torch.equal(smoothed(values, values, 0.1, 0.0), values)
