import numpy as np
import pytest
import torch
from scipy import linalg

from scripts.phantom.gamma_variate import gamma_variate
from scripts.phantom.hemodynamics import HEMATOCRIT_FACTOR, TISSUE_DENSITY_G_ML
from scripts.phantom.wiener import wiener_deconvolve, wiener_residue

FRAMES_S = np.arange(0.0, 60.0, 1.0)
AIF = torch.from_numpy(250.0 * gamma_variate(FRAMES_S, 6.0, 3.0, 1.5)).float()


def _tissue(flow: float, mtt_s: float, delay_s: float, step_s: float = 0.01) -> torch.Tensor:
    """Numerical convolution of the same gamma variate with an exponential, on a fine grid."""
    fine_s = np.arange(0.0, 60.0, step_s)
    arterial = 250.0 * gamma_variate(fine_s, 6.0 + delay_s, 3.0, 1.5)
    curve = np.convolve(arterial, np.exp(-fine_s / mtt_s))[: len(fine_s)] * step_s * flow
    return torch.from_numpy(curve[:: round(1 / step_s)]).float()


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_filter_solves_the_damped_least_squares_of_the_circulant_matrix(noise: float) -> None:
    rng = np.random.default_rng(0)
    aif, tissue = np.abs(rng.normal(size=12)), rng.normal(size=12)
    matrix = 1.5 * linalg.circulant(np.concatenate([aif, np.zeros(12)]))
    damping = noise * np.abs(linalg.svdvals(matrix)).max() * np.eye(24)
    padded = np.concatenate([tissue, np.zeros(24 + 12)])
    expected = linalg.lstsq(np.vstack([matrix, damping]), padded)[0]
    found = wiener_residue(torch.from_numpy(tissue)[None].float(), torch.from_numpy(aif).float(), 1.5, noise)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5 * np.abs(expected).max() + 1e-6)


@pytest.mark.parametrize("delay_s", [0.0, 3.0, 9.0])
def test_delay_moves_tmax_and_spares_flow(delay_s: float) -> None:
    units = {"density_g_ml": TISSUE_DENSITY_G_ML, "hematocrit_factor": HEMATOCRIT_FACTOR}
    curves = torch.stack([_tissue(0.01, 5.0, 0.0), _tissue(0.01, 5.0, delay_s)])
    maps = wiener_deconvolve(curves, AIF, 1.0, 0.05, **units)
    scale = HEMATOCRIT_FACTOR / TISSUE_DENSITY_G_ML
    assert float(maps.tmax[1] - maps.tmax[0]) == pytest.approx(delay_s, abs=0.01)
    assert float(maps.cbf[1]) == pytest.approx(float(maps.cbf[0]), rel=0.01)
    assert float(maps.cbf[0]) == pytest.approx(6000 * 0.01 * scale, rel=0.3)  # the filter takes some of the peak
    assert float(maps.cbv[1]) == pytest.approx(100 * 0.01 * 5.0 * scale, rel=0.02)
    torch.testing.assert_close(60 * maps.cbv, maps.cbf * maps.mtt)


def test_stronger_filter_gives_less_flow_and_no_enhancement_none() -> None:
    curves = torch.stack([_tissue(0.01, 4.0, 2.0), torch.zeros(60)])
    flows = [
        wiener_deconvolve(curves, AIF, 1.0, noise, density_g_ml=1.0, hematocrit_factor=1.0).cbf
        for noise in (0.05, 0.1, 0.2)
    ]
    assert flows[0][0] > flows[1][0] > flows[2][0] > 0.3 * 60
    assert not any(flow[1] for flow in flows)
