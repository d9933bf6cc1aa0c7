"""Flow, volume, transit time and delay of tissue, each with its standard deviation, by Bayesian estimation.

Tissue enhancement is ``c(t) = (rho / kH) (CBF / 6000) (C_a * h * R)(t - delay) + offset + noise``. The posterior is
evaluated on a grid of delays, mean transit times, shapes of the residue function R and dispersions h of the bolus
(Boutelier et al., IEEE TMI 2012;31:1381-1395; parametric residue functions: Mouridsen et al., NeuroImage
2006;33:570-579; dispersion as a nuisance: Tietze et al., NMR Biomed 2014 and Mouridsen et al., MRM 2014).
Flow and offset enter linearly and are integrated analytically.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .spline import spline_through

_DELAYS_S, _DELAY_STEP_S = (-2.0, 25.0), 0.75
_TRANSITS_S, _N_TRANSITS = (1.5, 30.0), 16
_TRANSIT_SHAPES = (1.0, 3.0, math.inf)  # of a gamma distribution of transit times: exponential, gamma, box
_PRIOR_TRANSIT_S, _PRIOR_TRANSIT_SD = 5.0, 0.7  # log-normal
_MODEL_ERROR = 0.02  # of a curve's length
_LAG_STEP_S = 0.25
_ENTRIES_AT_ONCE = 1 << 20  # of the likelihood


class Posterior(NamedTuple):
    """What the curves tell of the tissue, float32 tensors of shape (N,); zeros where a curve shows no flow.

    Flow, volume and transit time are the means of their logarithms, so that ``cbf * mtt / 60 == cbv``.
    """

    cbf: Tensor
    """Cerebral blood flow, ml/100 g/min."""
    cbv: Tensor
    """Cerebral blood volume, ml/100 g."""
    mtt: Tensor
    """Mean transit time, s."""
    tmax: Tensor
    """Delay of the tissue behind the arterial curve, s: when the residue function is largest; may be negative."""
    cbf_sd: Tensor
    cbv_sd: Tensor
    tmax_sd: Tensor


class BayesianEstimator:
    """Estimates perfusion from curves by their likelihood under model tissue.

    Args:
        aif_hu: arterial enhancement (T,).
        times_s: time of each frame (T,), rising; intervals may differ.
        frame_weights: (T,) weight of each frame; 0 leaves a frame out, for curves and for the arterial curve. All
            frames count the same if None.
        density_g_ml: rho, density of brain tissue.
        hematocrit_factor: kH = (1 - H_artery) / (1 - H_capillary), see `deconvolve`.
    """

    def __init__(
        self,
        aif_hu: Tensor,
        times_s: Tensor,
        *,
        frame_weights: Tensor | None = None,
        density_g_ml: float = 1.04,
        hematocrit_factor: float = 0.733,
    ) -> None:
        aif, times = aif_hu.double(), times_s.to(aif_hu.device).double()
        weights = torch.ones_like(aif) if frame_weights is None else frame_weights.to(aif)
        self._centering = torch.diag(weights) - torch.outer(weights, weights) / weights.sum()
        delays_s, transits_s, responses, log_prior, lags_s = _grid(aif.device, times)
        arterial = spline_through(times, aif, weights, times[:, None] - lags_s)
        curves = (_LAG_STEP_S * density_g_ml / hematocrit_factor / 6000) * arterial @ responses.T
        visible = self._centering @ curves
        length = (curves * visible).sum(dim=0).clamp_min(1e-24).sqrt()
        self._templates = (visible / length).T.float()
        self._log_prior = log_prior.float()
        log_flow = -length.log()
        log_volume = log_flow + (transits_s / 60).log()
        moments = torch.stack([log_flow, log_volume, delays_s], dim=1)
        self._center = moments.mean(dim=0).float()
        moments = moments - moments.mean(dim=0)
        self._moments = torch.cat([moments, moments.square()], dim=1).float()

    def __call__(self, curves: Tensor, noise_hu: Tensor | float) -> Posterior:
        """Estimate from enhancement curves.

        Args:
            curves: (T, N) in HU; a constant that is added to a curve changes nothing.
            noise_hu: standard deviation of the noise of a frame, a scalar or (N,).
        """
        return self._estimate(curves.float(), torch.eye(len(curves), device=curves.device), noise_hu)

    def from_basis(self, coefficients: Tensor, basis: tuple[Tensor, Tensor], noise_hu: Tensor | float) -> Posterior:
        """Estimate from coefficients (K, N) of curves in a basis, see `principal_curves`.

        Args:
            coefficients: the curves are ``common[:, None] + vectors @ coefficients`` up to a constant each.
            basis: common (T,) and orthonormal vectors (T, K).
            noise_hu: standard deviation of the noise of a coefficient, which is that of a frame before the curves were
                projected; a scalar or (N,).
        """
        common, vectors = basis
        axes = torch.cat([common[:, None], vectors], dim=1)
        return self._estimate(torch.cat([torch.ones_like(coefficients[:1]), coefficients]), axes, noise_hu)

    def _estimate(self, data: Tensor, axes: Tensor, noise_hu: Tensor | float) -> Posterior:
        """Posterior of the curves (T, N) ``axes @ data``."""
        templates = self._templates @ axes
        metric = axes.T @ self._centering.to(axes) @ axes
        table = torch.cat([self._moments, templates], dim=1)
        noise = torch.as_tensor(noise_hu, device=data.device, dtype=torch.float32).expand(data.shape[1])
        voxels_at_once = max(1, _ENTRIES_AT_ONCE // len(templates))
        found = data.new_empty(7, data.shape[1])
        for start in range(0, data.shape[1], voxels_at_once):
            part = slice(start, start + voxels_at_once)
            found[:, part] = self._posterior(data[:, part], templates, metric, table, noise[part])
        return Posterior(*found)

    def _posterior(self, data: Tensor, templates: Tensor, metric: Tensor, table: Tensor, noise: Tensor) -> Tensor:
        """The values of `Posterior` (7, n) of some voxels."""
        energy = (data * (metric @ data)).sum(dim=0)
        error = (noise.square() + _MODEL_ERROR**2 * energy).clamp_min(1e-12).sqrt()
        scaled = data / error
        size = (scaled.T @ templates.T).clamp_min_(0)
        likelihood = torch.softmax(torch.addcmul(self._log_prior, size, size, value=0.5), dim=1)
        sums = (likelihood @ table).T
        mean, square, template = sums[:3], sums[3:6], sums[6:]
        size = (template * scaled).sum(dim=0)
        variance = (square - mean.square()).clamp_min(0)
        mean = mean + self._center[:, None]
        flows = (size > 0).to(size.dtype)
        height = flows * size * error
        cbf, cbv = height * mean[0].exp(), height * mean[1].exp()
        mtt = flows * 60 * (mean[1] - mean[0]).exp()
        of_size = 1 / size.square().clamp_min(1.0)
        cbf_sd, cbv_sd = cbf * (variance[0] + of_size).sqrt(), cbv * (variance[1] + of_size).sqrt()
        return torch.stack([cbf, cbv, mtt, flows * mean[2], cbf_sd, cbv_sd, variance[2].sqrt()])


def _grid(device: torch.device, times: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Delay (M,), mean transit time (M,), response (M, L) and log prior (M,) of model tissue; lags (L,)."""
    like = {"device": device, "dtype": torch.float64}
    delays = torch.arange(_DELAYS_S[0], _DELAYS_S[1] + 1e-6, _DELAY_STEP_S, **like)
    transits = torch.logspace(*(math.log10(t) for t in _TRANSITS_S), _N_TRANSITS, **like)
    lags = torch.arange(_DELAYS_S[0] - 1, 90.0, _LAG_STEP_S, **like)
    edges = torch.cat([lags - _LAG_STEP_S / 2, lags[-1:] + _LAG_STEP_S / 2])
    since = (edges - delays[:, None, None]).clamp_min(0)  # (D, 1, L + 1)
    responses = [
        (integrated_residue(since, transits[:, None], shape).diff(dim=-1) / _LAG_STEP_S) for shape in _TRANSIT_SHAPES
    ]
    n = len(_TRANSIT_SHAPES)
    prior = -0.5 * ((transits / _PRIOR_TRANSIT_S).log() / _PRIOR_TRANSIT_SD).square()
    grid = torch.stack(torch.broadcast_tensors(delays[:, None], transits, prior)).flatten(1).repeat(1, n)
    return grid[0], grid[1], torch.stack(responses).flatten(0, 2), grid[2], lags


def integrated_residue(time_s: Tensor, mtt_s: Tensor, shape: float) -> Tensor:
    """Integral from 0 to a time of the residue function of gamma-distributed transit times, s."""
    if math.isinf(shape):
        return torch.minimum(time_s, mtt_s)
    scaled, shapes = shape * time_s / mtt_s, time_s.new_tensor(shape)
    return time_s * torch.special.gammaincc(shapes, scaled) + mtt_s * torch.special.gammainc(shapes + 1, scaled)
