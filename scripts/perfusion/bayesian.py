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

_DELAYS_S, _DELAY_STEP_S = (-2.0, 25.0), 0.25
_TRANSITS_S, _N_TRANSITS = (1.5, 30.0), 29
_STEPS = {1: _DELAY_STEP_S, 2: math.log(_TRANSITS_S[1] / _TRANSITS_S[0]) / (_N_TRANSITS - 1)}
_COARSE = (9, 4)  # fine steps to a coarse one
_DELAY_DECAY_S = 20.0
_TRANSIT_SHAPES = (1.0, 3.0, math.inf)  # of a gamma distribution of transit times: exponential, gamma, box
_PRIOR_TRANSIT, _SHORTER_SD, _LONGER_SD = math.log(5.0), 0.5, 1.0
_LOOSE_DELAY_S = 30.0
_REACH = (6, 6, 6, 0)
_MODEL_ERROR = 0.005  # of a curve's length
_COARSE_ERROR = 0.04  # of a curve's length
_LONGEST_RESIDUE_S = 90.0
_ENTRIES_AT_ONCE = 1 << 21  # of the likelihood


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
        self._models = _ModelCurves(aif, times, weights, self._centering, density_g_ml / hematocrit_factor / 6000)

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
        models = self._models
        coarse, fine = models.coarse @ axes, models.fine @ axes
        table = torch.cat([models.moments, coarse], dim=1)
        metric = axes.T @ self._centering.to(axes) @ axes
        noise = torch.as_tensor(noise_hu, device=data.device, dtype=torch.float32).expand(data.shape[1])
        voxels_at_once = max(1, _ENTRIES_AT_ONCE // len(coarse))
        found = data.new_empty(7, data.shape[1])
        for start in range(0, data.shape[1], voxels_at_once):
            part = slice(start, start + voxels_at_once)
            curves = data[:, part].T.contiguous()
            energy = ((curves @ metric) * curves).sum(dim=1)
            wide, wide_variance = models.over_grid(curves, energy, noise[part], coarse, table)
            narrow, variance, trust = models.about(wide, curves, energy, noise[part], fine)
            found[:, part] = _values(torch.lerp(wide, narrow, trust), torch.lerp(wide_variance, variance, trust))
        return Posterior(*found)


def _values(mean: Tensor, variance: Tensor) -> Tensor:
    """The values of `Posterior` (7, n) from mean and variance (3, n) of log flow, log volume and delay."""
    sd = variance.sqrt()
    cbf, cbv = mean[:2].exp()
    return torch.stack([cbf, cbv, 60 * (mean[1] - mean[0]).exp(), mean[2], cbf * sd[0], cbv * sd[1], sd[2]])


class _ModelCurves:
    """Curves of model tissue for every shape, delay and mean transit time: (S, D, T) points, flattened to M.

    Attributes:
        fine: (M, 3, T) curve of unit length, and its derivatives with respect to delay and log transit time.
        local: (M, 8) of each point: log of the length at unit flow and its two derivatives, the inner products of the
            two derivatives of the curve, delay, and log transit time
        coarse: (C, T) curves of each `_COARSE`-th point in both directions.
        prior: (C,) its logarithm.
        moments: (C, 6) log flow, log volume and delay of a curve of unit length, less `center`, and their squares.
    """

    def __init__(self, aif: Tensor, times: Tensor, weights: Tensor, centering: Tensor, scale: float) -> None:
        like = {"device": aif.device, "dtype": torch.float64}
        delays_s = torch.arange(_DELAYS_S[0], _DELAYS_S[1] + 1e-6, _DELAY_STEP_S, **like)
        transits = torch.linspace(math.log(_TRANSITS_S[0]), math.log(_TRANSITS_S[1]), _N_TRANSITS, **like)
        curves = scale * _tissue(aif, times, weights, delays_s, transits.exp())
        seen = curves @ centering
        length = (curves * seen).sum(dim=-1).clamp_min(1e-24).sqrt()
        seen, log_length = curves / length[..., None], length.log()
        slopes = [torch.gradient(seen, dim=dim)[0] / step for dim, step in _STEPS.items()]
        length_slopes = [torch.gradient(log_length, dim=dim)[0] / step for dim, step in _STEPS.items()]
        inner = [((one @ centering) * other).sum(-1) for one, other in ((slopes[0], slopes[0]), (slopes[0], slopes[1]), (slopes[1], slopes[1]))]
        delay, transit = torch.broadcast_tensors(delays_s[:, None], transits)
        delay, transit = delay.expand_as(length), transit.expand_as(length)
        self.shape = length.shape
        fine = torch.stack([seen, *slopes], dim=-2) @ centering
        self.fine = fine.flatten(0, 2).float()
        self.local = torch.stack([log_length, *length_slopes, *inner, delay, transit], dim=-1).flatten(0, 2).float()

        latest = times[-1] - times[aif.argmax()]
        away = transit - _PRIOR_TRANSIT
        prior = -0.5 * (away / torch.where(away < 0, _SHORTER_SD, _LONGER_SD)).square() - delay.clamp_min(0) / _DELAY_DECAY_S
        prior = torch.where(delay > latest, -1e4, prior)
        moments = torch.stack([-log_length, transit - log_length - math.log(60), delay], dim=-1)
        some = (slice(None), slice(None, None, _COARSE[0]), slice(None, None, _COARSE[1]))
        self.coarse = fine[some][..., 0, :].flatten(0, 2).float()
        self.prior = prior[some].flatten().float()
        moments = moments[some].flatten(0, 2)
        self.center = moments.mean(dim=0)[:, None].float()
        moments = moments - moments.mean(dim=0)
        self.moments = torch.cat([moments, moments.square()], dim=1).float()

    def over_grid(
        self, curves: Tensor, energy: Tensor, noise: Tensor, coarse: Tensor, table: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance (3, n) of the posterior over the coarse grid."""
        error = (noise.square() + _COARSE_ERROR**2 * energy).clamp_min(1e-12).sqrt()
        size = ((curves / error[:, None]) @ coarse.T).clamp_min_(0)
        logits = torch.addcmul(self.prior, size, size, value=0.5)
        sums = (torch.softmax(logits, dim=1) @ table).T
        mean, square, template = sums[:3], sums[3:6], sums[6:]
        height = (template * curves.T).sum(dim=0).clamp_min(1e-6)
        variance = (square - mean.square()).clamp_min(0)
        variance[:2] += (noise / height).square()
        mean = mean + self.center
        mean[:2] += height.log()
        return mean, variance

    def about(
        self, wide: Tensor, curves: Tensor, energy: Tensor, noise: Tensor, fine: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance (3, n) of the posterior about the best point of each shape, between the points."""
        n_shapes, n_delays, n_transits = self.shape
        row = ((wide[2] - _DELAYS_S[0]) / _STEPS[1]).round().long().clamp(1, n_delays - 2)[:, None]
        column = wide[1] - wide[0] + math.log(60 / _TRANSITS_S[0])
        column = (column / _STEPS[2]).round().long().clamp(1, n_transits - 2)[:, None]
        first = torch.arange(n_shapes, device=wide.device) * n_delays
        error = (noise.square() + _MODEL_ERROR**2 * energy).clamp_min(1e-12)[:, None]
        for reach in _REACH:
            index = (first + row) * n_transits + column
            height, pull_delay, pull_transit = torch.einsum("nsak,nk->ans", fine[index], curves)
            height = height.clamp_min(1e-6)
            log_length, by_delay, by_transit, dd, dm, mm, delay, transit = self.local[index].unbind(dim=-1)
            relative = error / height.square()
            away = transit - _PRIOR_TRANSIT
            weight = torch.where(away < 0, 1 / _SHORTER_SD**2, 1 / _LONGER_SD**2)
            # precision matrix and gradient of the log posterior, both times `relative`
            dd, mm = dd + relative / _LOOSE_DELAY_S**2, mm + relative * weight
            pull_delay = pull_delay / height - relative * (delay > 0) / _DELAY_DECAY_S
            pull_transit = pull_transit / height - relative * weight * away
            determinant = (dd * mm - dm.square()).clamp_min(1e-12)
            later = (mm * pull_delay - dm * pull_transit) / determinant
            longer = (dd * pull_transit - dm * pull_delay) / determinant
            if reach:
                row = (row + (later / _STEPS[1]).round().clamp(-reach, reach).long()).clamp(1, n_delays - 2)
                column = (column + (longer / _STEPS[2]).round().clamp(-reach, reach).long()).clamp(1, n_transits - 2)
        later = later.clamp(-_STEPS[1], _STEPS[1])
        longer = longer.clamp(-_STEPS[2], _STEPS[2])
        gain = later * pull_delay + longer * pull_transit - 0.5 * (dd * later**2 + 2 * dm * later * longer + mm * longer**2)
        evidence = (0.5 + gain) / relative - 0.5 * weight * away.square() - delay.clamp_min(0) / _DELAY_DECAY_S - 0.5 * (determinant / relative.square()).log()
        share = torch.softmax(evidence, dim=1)
        log_flow = height.log() - log_length - by_delay * later - by_transit * longer
        log_volume = log_flow + transit + longer - math.log(60)
        means = torch.stack([log_flow, log_volume, delay + later])
        spread = relative / determinant
        of_delay, of_transit, of_both = spread * mm, spread * dd, -spread * dm

        def propagated(a: Tensor, b: Tensor) -> Tensor:
            return a**2 * of_delay + 2 * a * b * of_both + b**2 * of_transit + relative

        variances = torch.stack([propagated(by_delay, by_transit), propagated(by_delay, by_transit - 1), of_delay])
        mean = (share * means).sum(dim=2)
        variance = (share * (variances + (means - mean[..., None]).square())).sum(dim=2)
        width = (share * (of_delay / 0.75**2 + of_transit / 0.35**2)).sum(dim=1)
        return mean, variance, 1 / (1 + width)


def _tissue(aif: Tensor, times: Tensor, weights: Tensor, delays_s: Tensor, transits_s: Tensor) -> Tensor:
    """Enhancement (S, D, T, frames) of tissue with unit flow, and a unit scale."""
    n_lags = round(_LONGEST_RESIDUE_S / _DELAY_STEP_S)
    step = _DELAY_STEP_S
    n_delays = len(delays_s)
    # arterial curve at frame time - (delay + lag): delays and lags share one grid
    since = delays_s[0] + step * torch.arange(n_delays + n_lags, device=aif.device, dtype=aif.dtype)
    arterial = spline_through(times, aif, weights, times[:, None] - since - step / 2)
    windows = arterial.unfold(1, n_lags, 1)[:, :n_delays]  # (frames, D, lags)
    edges = step * torch.arange(n_lags + 1, device=aif.device, dtype=aif.dtype)
    remaining = torch.stack([integrated_residue(edges, transits_s[:, None], shape).diff() for shape in _TRANSIT_SHAPES])
    return torch.einsum("tdl,srl->sdrt", windows, remaining)


def integrated_residue(time_s: Tensor, mtt_s: Tensor, shape: float) -> Tensor:
    """Integral from 0 to a time of the residue function of gamma-distributed transit times, s."""
    if math.isinf(shape):
        return torch.minimum(time_s, mtt_s)
    scaled, shapes = shape * time_s / mtt_s, time_s.new_tensor(shape)
    return time_s * torch.special.gammaincc(shapes, scaled) + mtt_s * torch.special.gammainc(shapes + 1, scaled)
