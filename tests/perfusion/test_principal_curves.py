"""Principal components of curves against a singular value decomposition, and what denoising keeps."""

import numpy as np
import pytest
import torch

from scripts.perfusion.filters import from_basis, principal_curves, to_basis

from .curves import tissue_curve

N_FRAMES = 40


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
    basis = principal_curves(curves, 2)
    assert denoised(curves, basis).numpy() == pytest.approx(curves.numpy(), abs=1e-3)
    noise = torch.randn(curves.shape, generator=torch.Generator().manual_seed(3))
    left = denoised(curves + noise, basis) - curves
    # of T dimensions the level and two components stay
    assert float(left.square().mean()) == pytest.approx(3 / N_FRAMES, rel=0.1)


def denoised(curves: torch.Tensor, basis: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return from_basis(*to_basis(curves, basis), basis, out=torch.empty_like(curves))


def test_no_voxels_have_no_components() -> None:
    common, vectors = principal_curves(torch.zeros(7, 0), 3)
    assert common.shape == (7,)
    assert vectors.shape == (7, 3)
