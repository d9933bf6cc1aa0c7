"""Principal components of curves against a singular value decomposition, and what denoising keeps."""

import numpy as np
import pytest
import torch

from scripts.perfusion.denoising import denoise, principal_curves
from scripts.perfusion.smoothing import MaskedGrid

from .curves import tissue_curve

N_FRAMES = 40
SPACING_MM = (1.0, 1.0, 5.0)


@pytest.fixture(scope="module")
def curves() -> torch.Tensor:
    """Attenuation (T, N) of voxels of five kinds, without noise."""
    kinds = [tissue_curve("exponential", 50.0, mtt_s, delay_s, 1.0, N_FRAMES) for mtt_s, delay_s in ((4, 0), (8, 6))]
    amount = torch.rand(2, 900, generator=torch.Generator().manual_seed(0))
    level = 25 + 15 * torch.rand(900, generator=torch.Generator().manual_seed(1))
    return torch.from_numpy(np.stack(kinds, axis=1)).float() @ amount + level


def test_components_are_those_of_the_doubly_centred_curves(curves: torch.Tensor) -> None:
    noisy = curves + torch.randn(curves.shape, generator=torch.Generator().manual_seed(2))
    common, vectors = principal_curves(noisy, 3)
    centred = noisy.double().numpy() - noisy.double().numpy().mean(axis=0)
    left = np.linalg.svd(centred - centred.mean(axis=1, keepdims=True))[0][:, :3]
    assert common.numpy() == pytest.approx(centred.mean(axis=1), abs=1e-4)
    assert np.linalg.svd(left.T @ vectors.double().numpy())[1] == pytest.approx(np.ones(3), abs=1e-5)


def test_curves_in_few_ways_are_kept_and_noise_is_not(curves: torch.Tensor) -> None:
    grid = MaskedGrid(torch.ones(30, 30, 1, dtype=torch.bool))
    basis = principal_curves(curves, 2)
    kept = denoise(curves.clone(), grid, basis, 0.0, SPACING_MM, grid.mask)
    assert kept.numpy() == pytest.approx(curves.numpy(), abs=1e-3)
    noise = torch.randn(curves.shape, generator=torch.Generator().manual_seed(3))
    left = denoise(curves + noise, grid, basis, 0.0, SPACING_MM, grid.mask) - curves
    # of T dimensions the level and two components stay
    assert float(left.square().mean()) == pytest.approx(3 / N_FRAMES, rel=0.1)


def test_curves_are_denoised_in_place(curves: torch.Tensor) -> None:
    grid = MaskedGrid(torch.ones(30, 30, 1, dtype=torch.bool))
    given = curves.clone()
    assert denoise(given, grid, principal_curves(given), 2.0, SPACING_MM, grid.mask) is given


def test_no_voxels_have_no_components() -> None:
    common, vectors = principal_curves(torch.zeros(7, 0), 3)
    assert common.shape == (7,)
    assert vectors.shape == (7, 3)
