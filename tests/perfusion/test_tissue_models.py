"""Tmax and blood volume of known curves, made on a finer grid and by another convolution than the models."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from scripts.perfusion.denoising import principal_curves, to_basis
from scripts.perfusion.tissue_models import TissueModels, model_curves, residue

from .curves import arterial_curve, tissue_curve

DELAYS_S = (0.0, 1.0, 2.3, 4.0, 5.7, 8.0)
TRANSITS_S = (4.0, 6.0, 10.0)
TOLERANCE = 0.75  # of a frame; a box of 6 s is between the models' transit times


def examination(kind: str, dt_s: float, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Arterial curve (T,), and curves (T, N) of every delay at every transit time."""
    n_frames = int(70 / dt_s)
    aif = arterial_curve(np.arange(n_frames) * dt_s)
    curves = [tissue_curve(kind, 50.0, mtt_s, delay_s, dt_s, n_frames) for mtt_s in TRANSITS_S for delay_s in DELAYS_S]
    return torch.from_numpy(scale * aif).float(), torch.from_numpy(scale * np.stack(curves, axis=1)).float()


def delays(curves: torch.Tensor, aif: torch.Tensor, dt_s: float) -> torch.Tensor:
    basis = principal_curves(curves, 12)
    coefficients, _ = to_basis(curves, basis)
    return TissueModels(coefficients, basis, aif, dt_s).tmax(coefficients)


@pytest.mark.parametrize("dt_s", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["exponential", "gamma", "box"])
def test_tmax_is_the_delay_and_rises_with_it_to_half_a_frame(kind: str, dt_s: float) -> None:
    aif, curves = examination(kind, dt_s)
    found = delays(curves, aif, dt_s).view(len(TRANSITS_S), -1)
    truth = torch.tensor(DELAYS_S).expand_as(found)
    assert found.numpy() == pytest.approx(truth.numpy(), abs=TOLERANCE * dt_s)
    assert (found - found[:, :1]).numpy() == pytest.approx(truth.numpy(), abs=0.5 * dt_s)


@given(scale=st.floats(0.1, 10), attenuation_hu=st.floats(-20, 60))
def test_delay_does_not_depend_on_the_dose_nor_on_the_attenuation(scale: float, attenuation_hu: float) -> None:
    aif, curves = examination("exponential", 2.0)
    brighter = delays(scale * curves + attenuation_hu, scale * aif, 2.0)
    assert brighter.numpy() == pytest.approx(delays(curves, aif, 2.0).numpy(), abs=0.02)


def test_noise_moves_it_little() -> None:
    aif, curves = examination("exponential", 1.0)
    many = curves.repeat(1, 200)
    noisy = many + 0.5 * torch.randn(many.shape, generator=torch.Generator().manual_seed(0))
    basis = principal_curves(many, 5)
    coefficients, _ = to_basis(noisy, basis)
    found = TissueModels(coefficients, basis, aif, 1.0).tmax(coefficients)
    truth = torch.tensor(DELAYS_S).repeat(len(TRANSITS_S) * 200)
    assert float((found - truth).abs().mean()) < 0.4


@pytest.mark.parametrize("shape", [1.0, 2.0, 5.0, math.inf])
def test_residue_has_unit_area_and_falls_from_one(shape: float) -> None:
    def at(transits: float) -> float:
        return float(residue(torch.tensor(transits, dtype=torch.float64), shape))

    assert at(1e-9) == pytest.approx(1)
    assert quad(at, 0, 30, points=[1.0], limit=200)[0] == pytest.approx(1, abs=1e-6)


def test_models_are_shifted_by_the_delay() -> None:
    aif, _ = examination("exponential", 1.0)
    at_once, later = model_curves(aif, 1.0, torch.tensor([0.0, 3.0]), 1.0).curves.view(-1, 2, len(aif)).unbind(dim=1)
    slope = [(rows[:, 1:] - rows[:, :-1]).argmax(dim=1) for rows in (at_once, later)]
    assert (slope[1] - slope[0]).tolist() == [3] * len(at_once)


@pytest.mark.parametrize("kind", ["exponential", "gamma", "box"])
def test_blood_volume_is_that_of_the_central_volume_theorem(kind: str) -> None:
    aif, curves = examination(kind, 1.0)
    basis = principal_curves(curves, 12)
    coefficients, _ = to_basis(curves, basis)
    found = TissueModels(coefficients, basis, aif, 1.0).blood_volume(coefficients)
    truth = (50.0 / 6000 * torch.tensor(TRANSITS_S))[:, None].expand(-1, len(DELAYS_S)).flatten()
    assert found.numpy() == pytest.approx(truth.numpy(), rel=0.1)


def test_blood_volume_does_not_lack_what_comes_after_the_last_frame() -> None:
    aif, curves = examination("exponential", 1.0)
    n_frames = 30
    cut = curves[:n_frames]
    basis = principal_curves(cut, 12)
    coefficients, _ = to_basis(cut, basis)
    found = TissueModels(coefficients, basis, aif[:n_frames], 1.0).blood_volume(coefficients)
    whole = curves.sum(dim=0) / aif.sum()
    late = slice(-1, None)  # 8 s late and 10 s to pass
    assert float((cut.sum(dim=0) / aif[:n_frames].sum() / whole)[late]) < 0.85
    assert found[late].numpy() == pytest.approx(whole[late].numpy(), rel=0.15)


def test_no_voxels_have_no_values() -> None:
    aif, _ = examination("exponential", 1.0)
    basis = principal_curves(torch.zeros(len(aif), 0), 3)
    models = TissueModels(torch.zeros(3, 0), basis, aif, 1.0)
    assert models.tmax(torch.zeros(3, 0)).shape == models.blood_volume(torch.zeros(3, 0)).shape == (0,)
