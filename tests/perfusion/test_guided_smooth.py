"""Smoothing along the anatomy: what it keeps, what it averages, and what it must not take in."""

import numpy as np
import pytest
import torch

from scripts.perfusion.filters import guided_smooth, tissue_guide
from scripts.perfusion.masked_grid import MaskedGrid

SPACING_MM = (1.0, 1.2, 6.0)
SIGMA_MM = 3.0


@pytest.fixture(scope="module")
def grid() -> MaskedGrid:
    h, w = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(44) - 21.5, indexing="ij")
    return MaskedGrid((torch.hypot(h, w) < 20)[..., None].expand(-1, -1, 2))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_smoothing_values_on_the_grid_is_smoothing_the_volume(grid: MaskedGrid) -> None:
    values = noise(11, grid.count)
    source = grid.mask & (noise(*grid.mask.shape, seed=1) > -1)
    expected = grid.curves(grid.volume(values), SIGMA_MM, SPACING_MM, source)
    assert torch.equal(grid.smooth(values, SIGMA_MM, SPACING_MM, source), expected)
    assert grid.smooth(values, 0.0) is values


def test_detail_of_the_guide_is_kept_while_noise_is_not(grid: MaskedGrid) -> None:
    guide = 4 * noise(grid.count)
    truth = torch.stack([0.5 * guide + 3, -2 * guide])
    noisy = truth + 2 * noise(2, grid.count, seed=1)
    smooth = guided_smooth(grid, noisy, guide, SIGMA_MM, SPACING_MM, grid.mask)
    plain = grid.smooth(noisy, SIGMA_MM, SPACING_MM)
    for row in range(2):
        error, plain_error = (float((found[row] - truth[row]).std()) for found in (smooth, plain))
        assert error < 0.3 * 2
        assert error < 0.35 * plain_error


def test_a_flat_guide_gives_the_plain_mean_of_means(grid: MaskedGrid) -> None:
    values = noise(3, grid.count)
    smooth = guided_smooth(grid, values, torch.zeros(grid.count), SIGMA_MM, SPACING_MM, grid.mask)
    twice = grid.smooth(grid.smooth(values, SIGMA_MM, SPACING_MM), SIGMA_MM, SPACING_MM)
    assert smooth.numpy() == pytest.approx(twice.numpy(), abs=1e-5)


def test_nothing_comes_from_outside_the_source(grid: MaskedGrid) -> None:
    source = grid.mask.clone()
    source[:, :22] = False
    inside = grid.curves(source[None])[0] > 0
    values, guide = noise(2, grid.count), noise(grid.count, seed=1)
    changed = torch.where(inside, values, 1e6)
    one, other = (guided_smooth(grid, each, guide, SIGMA_MM, SPACING_MM, source) for each in (values, changed))
    assert torch.equal(one, other)


def test_no_smoothing_leaves_the_values(grid: MaskedGrid) -> None:
    values = noise(2, grid.count)
    assert guided_smooth(grid, values, values[0], 0.0, SPACING_MM, grid.mask) is values


def test_guide_of_a_vessel_is_that_of_its_surroundings_and_bone_is_no_grey_matter(grid: MaskedGrid) -> None:
    volume = 30 + noise(*grid.mask.shape)
    volume[20:23, 20:23], volume[30, 20] = 300.0, 90.0
    source = grid.mask.clone()
    source[20:23, 20:23] = False
    guide = grid.volume(tissue_guide(grid, grid.curves(volume[None])[0], SIGMA_MM, SPACING_MM, source))
    assert guide[21, 21].numpy() == pytest.approx(np.zeros(2), abs=0.5)
    assert guide.abs().max() < 4


def test_a_grid_without_tissue_has_a_flat_guide(grid: MaskedGrid) -> None:
    nowhere = torch.zeros_like(grid.mask)
    assert not tissue_guide(grid, torch.ones(grid.count), SIGMA_MM, SPACING_MM, nowhere).any()
