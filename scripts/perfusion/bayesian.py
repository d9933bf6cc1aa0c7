"""Flow, volume, transit time and delay of tissue, each with its standard deviation, by Bayesian estimation.

The model of a curve is ``(rho / kH) (CBF / 6000) (C_a * R)(t - delay) + offset + noise``: a delay, a mean transit time
and a shape of the residue function R, see Boutelier et al., IEEE TMI 2012;31:1381-1395, and for residue functions of
gamma-distributed transit times with normal priors of log parameters Mouridsen et al., NeuroImage 2006;33:570-579. Flow
and offset enter linearly and are integrated in closed form. The posterior of the others is evaluated in two steps:

1. over a coarse grid, with an error that covers the distance of its points, which holds where noise makes it broad;
2. about its mean, for each shape, as a normal distribution (Gauss-Newton steps on a fine grid, continuous between its
   points), which holds where it is narrow.

The result is the mean of both, weighted by how narrow the second is. Means are those of logarithms: the mean of
flow = volume / transit time itself follows the short end of a broad posterior of the transit time.

Dispersion of the bolus is not a parameter. A dispersed exponential residue is nearly a gamma-shaped one: with a
dispersion of 4 s among the shapes, the delay at a dispersion of 4.5 s is 0.6 s too long instead of 1.7 s, but the flow
of undispersed tissue with a transit time of 9 s is up to 3.1 times too high.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .spline import spline_through

_TRANSIT_SHAPES = (1.0, 3.0, math.inf)  # of a gamma distribution of transit times: exponential, gamma and box residue
_DELAYS_S, _DELAY_STEP_S = (-2.0, 25.0), 0.25
_LOG_TRANSITS, _N_TRANSITS = (math.log(1.5), math.log(30.0)), 29
_TRANSIT_STEP = (_LOG_TRANSITS[1] - _LOG_TRANSITS[0]) / (_N_TRANSITS - 1)
_LONGEST_RESIDUE_S = 90.0
_COARSE = (9, 4)  # fine steps of delay and transit time to a coarse one
_COARSE_ERROR = 0.04  # of a curve's length: about half of the distance of two coarse points
_MODEL_ERROR = 0.005  # of a curve's length: what interpolation and the shapes leave of exact curves; a choice
_STEPS_AT_ONCE = (6, 6, 6)  # fine steps that each Gauss-Newton step may go

# Normal tissue takes 4 to 6 s, starved tissue up to about 24 s (two standard deviations), and none much less than 3 s
# (one): a normal prior of the logarithm, with another width on each side. It is a choice. Every delay is as likely as
# another: a prior that prefers early blood would hide starved tissue, whose curves are low.
_USUAL_TRANSIT, _SHORTER_SD, _LONGER_SD = math.log(5.0), 0.5, 0.8
_LOOSE_S = 30.0  # standard deviation that keeps the delay of a flat curve defined

_NARROW = (0.75, 0.35)  # standard deviations of delay (s) and log transit time up to which step 2 counts for more
_SAMPLE, _ROUNDS, _RAREST = 4096, 4, 0.01  # curves that tell the shapes, rounds, and the least share of a shape
_ENTRIES_AT_ONCE = 1 << 21  # of the likelihood, 8 MB


class Posterior(NamedTuple):
    """What curves tell of tissue, float32 tensors of shape (N,).

    Flow, volume and transit time are exponentials of the means of their logarithms, so that ``cbf * mtt / 60 == cbv``.
    """

    cbf: Tensor
    """Cerebral blood flow, ml/100 g/min."""
    cbv: Tensor
    """Cerebral blood volume, ml/100 g."""
    mtt: Tensor
    """Mean transit time, s."""
    tmax: Tensor
    """Delay of the tissue behind the arterial curve, when the residue function is largest, s; negative if it leads."""
    cbf_sd: Tensor
    """Standard deviation of the flow, ml/100 g/min."""
    cbv_sd: Tensor
    """Standard deviation of the volume, ml/100 g."""
    tmax_sd: Tensor
    """Standard deviation of the delay, s."""


class BayesianEstimator:
    """Estimates perfusion from enhancement curves.

    Args:
        aif_hu: arterial enhancement (T,); a spline between its frames.
        times_s: time of each frame (T,) of the curves, rising; intervals may differ.
        aif_times_s: (T,) times of the arterial enhancement, if it was sampled at others, on the same clock.
        frame_weights: (T,) weight of each frame; 0 leaves a frame out, of the curves and of the arterial curve. None
            gives all frames the same weight.
        density_g_ml: rho, density of brain tissue.
        hematocrit_factor: kH, see `deconvolve`.

    Raises:
        ValueError: shapes or numbers do not fit; the message names the argument.

    Example:
        >>> times_s = torch.arange(40.0)
        >>> aif_hu = 50 * (times_s - 5).clamp_min(0) ** 3 * torch.exp(-(times_s - 5) / 1.5)
        >>> estimator = BayesianEstimator(aif_hu, times_s, density_g_ml=1.0, hematocrit_factor=1.0)
        >>> found = estimator(0.04 * aif_hu[:, None], noise_hu=0.1)
        >>> round(found.cbv.item())
        4
    """

    def __init__(
        self,
        aif_hu: Tensor,
        times_s: Tensor,
        *,
        aif_times_s: Tensor | None = None,
        frame_weights: Tensor | None = None,
        density_g_ml: float = 1.04,
        hematocrit_factor: float = 0.733,
    ) -> None:
        if aif_hu.ndim != 1 or times_s.shape != aif_hu.shape or len(aif_hu) < 4:
            raise ValueError(
                f"times_s must have one value per frame of aif_hu (at least 4), got {tuple(times_s.shape)} "
                f"and {tuple(aif_hu.shape)}"
            )
        if aif_times_s is not None and aif_times_s.shape != aif_hu.shape:
            raise ValueError(f"aif_times_s must have shape {tuple(aif_hu.shape)}, got {tuple(aif_times_s.shape)}")
        if frame_weights is not None and frame_weights.shape != aif_hu.shape:
            raise ValueError(f"frame_weights must have shape {tuple(aif_hu.shape)}, got {tuple(frame_weights.shape)}")
        for name, number in (("density_g_ml", density_g_ml), ("hematocrit_factor", hematocrit_factor)):
            if not (math.isfinite(number) and number > 0):
                raise ValueError(f"{name} must be positive, got {number}")
        aif, times = aif_hu.double(), times_s.to(aif_hu.device).double()
        weights = torch.ones_like(aif) if frame_weights is None else frame_weights.to(aif)
        # Weighted inner product of two curves after the offset of one is taken off.
        self._metric = torch.diag(weights) - torch.outer(weights, weights) / weights.sum()
        sampled = times if aif_times_s is None else aif_times_s.to(aif)
        self._models = _Models(aif, sampled, times, weights, self._metric, density_g_ml / hematocrit_factor / 6000)

    def __call__(self, curves: Tensor, noise_hu: Tensor | float) -> Posterior:
        """Estimate from curves.

        Args:
            curves: enhancement (T, N) in HU; a constant added to a curve changes nothing.
            noise_hu: standard deviation of the noise of one frame, a scalar or (N,).
        """
        return self._estimate(curves.float(), torch.eye(len(curves), device=curves.device), noise_hu)

    def from_basis(self, coefficients: Tensor, basis: tuple[Tensor, Tensor], noise_hu: Tensor | float) -> Posterior:
        """Estimate from coefficients of curves in a basis, see `principal_curves`; about ten times as fast.

        Args:
            coefficients: (K, N); the curves are ``common[:, None] + vectors @ coefficients``, up to a constant each.
            basis: common (T,) and orthonormal vectors (T, K).
            noise_hu: standard deviation of the noise of a coefficient, a scalar or (N,). It is that of one frame before
                the curves were projected to the basis.
        """
        return self._estimate(*_on_axes(coefficients, basis), noise_hu)

    def fit_shapes(self, coefficients: Tensor, basis: tuple[Tensor, Tensor], noise_hu: Tensor | float) -> None:
        """Take each shape of the residue function for as likely as the examination shows it; arguments as `from_basis`.

        One noisy curve hardly tells its shape, and a wrong one moves its flow by up to a third; the curves of a brain
        together do. Their mean posterior becomes the prior, a few times over (empirical Bayes by
        expectation-maximization; Dempster et al., J R Stat Soc B 1977;39:1-38).
        """
        fit_shapes([(self, coefficients, basis, noise_hu)])

    def _estimate(self, data: Tensor, axes: Tensor, noise_hu: Tensor | float) -> Posterior:
        """Posterior of the curves ``axes @ data`` (T, N)."""
        noise = torch.as_tensor(noise_hu, device=data.device, dtype=torch.float32).expand(data.shape[1])
        found = data.new_empty(len(Posterior._fields), data.shape[1])
        for part, mean, sd, _ in self._parts(data, axes, noise):
            cbf, cbv = mean[:2].exp()
            mtt = 60 * (mean[1] - mean[0]).exp()
            found[:, part] = torch.stack([cbf, cbv, mtt, mean[2], cbf * sd[0], cbv * sd[1], sd[2]])
        return Posterior(*found)

    def _parts(self, data: Tensor, axes: Tensor, noise: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Some voxels at a time, their mean and standard deviation (3, n), and the probability of each shape (n, S)."""
        models = self._models
        coarse, fine = models.coarse @ axes, models.fine @ axes
        table = torch.cat([models.moments, coarse], dim=1)
        metric = axes.T @ self._metric.to(axes) @ axes
        voxels_at_once = _ENTRIES_AT_ONCE // len(coarse)
        for start in range(0, data.shape[1], voxels_at_once):
            part = slice(start, start + voxels_at_once)
            curves = data[:, part].T.contiguous()
            energy = ((curves @ metric) * curves).sum(dim=1)
            broad, broad_variance = models.over_grid(curves, _error(noise[part], _COARSE_ERROR, energy), coarse, table)
            narrow, variance, trust, shapes = models.about(
                broad, curves, _error(noise[part], _MODEL_ERROR, energy), fine
            )
            sd = torch.lerp(broad_variance, variance, trust).sqrt()
            yield part, torch.lerp(broad, narrow, trust), sd, shapes


def fit_shapes(examination: Sequence[tuple[BayesianEstimator, Tensor, tuple[Tensor, Tensor], Tensor | float]]) -> None:
    """Let estimators of one examination share the probabilities of the shapes that all its curves show.

    Args:
        examination: estimators with the arguments of `BayesianEstimator.fit_shapes`.
    """
    step = max(1, sum(coefficients.shape[1] for _, coefficients, *_ in examination) // _SAMPLE)
    samples = []
    for estimator, coefficients, basis, noise_hu in examination:
        noise = torch.as_tensor(noise_hu, device=coefficients.device, dtype=torch.float32)
        noise = noise.expand(coefficients.shape[1])[::step]
        samples.append((estimator, *_on_axes(coefficients[:, ::step], basis), noise))
    for _ in range(_ROUNDS):
        shares = [shape_shares for estimator, *sample in samples for *_, shape_shares in estimator._parts(*sample)]
        preferred = torch.cat(shares).mean(dim=0).clamp_min(_RAREST)
        for estimator, *_ in samples:
            estimator._models.prefer(preferred)


def _on_axes(coefficients: Tensor, basis: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Coefficients (1 + K, N) on the axes (T, 1 + K), of which the first is the mean curve."""
    common, vectors = basis
    return torch.cat([torch.ones_like(coefficients[:1]), coefficients]), torch.cat([common[:, None], vectors], dim=1)


def _error(noise: Tensor, share: float, energy: Tensor) -> Tensor:
    """Variance of the noise and of a model error that is a fraction of the curve."""
    return (noise.square() + share**2 * energy).clamp_min(1e-12)


class _Models:
    """Curves of model tissue for every shape, delay and mean transit time, (S, D, T) points, flattened to M.

    Attributes:
        fine: (M, 3, frames) curve of unit length and its derivatives by delay and by log transit time; they give inner
            products with curves of any offset.
        local: (M, 8) log length at unit flow and its two derivatives, the inner products of the derivatives of the
            curve (delay with itself, both, transit time with itself), delay, log transit time.
        coarse: (C, frames) curves of the coarse grid.
        prior: (C,) log prior.
        moments: (C, 6) log flow, log volume and delay of a curve of unit length less `center`, and their squares.
    """

    def __init__(
        self, aif: Tensor, aif_times: Tensor, times: Tensor, weights: Tensor, metric: Tensor, scale: float
    ) -> None:
        delays_s = torch.arange(
            _DELAYS_S[0], _DELAYS_S[1] + _DELAY_STEP_S / 2, _DELAY_STEP_S, device=aif.device, dtype=aif.dtype
        )
        transits = torch.linspace(
            _LOG_TRANSITS[0], _LOG_TRANSITS[1], _N_TRANSITS, device=aif.device, dtype=torch.float64
        )
        curves = scale * _tissue(aif, aif_times, times, weights, delays_s, transits.exp())
        self.shape = curves.shape[:3]
        length = (curves * (curves @ metric)).sum(dim=-1).clamp_min(1e-24).sqrt()
        curves, log_length = curves / length[..., None], length.log()
        steps = {1: _DELAY_STEP_S, 2: _TRANSIT_STEP}
        by_delay, by_transit = (torch.gradient(curves, dim=dim)[0] / step for dim, step in steps.items())
        of_length = [torch.gradient(log_length, dim=dim)[0] / step for dim, step in steps.items()]
        inner = [
            ((one @ metric) * other).sum(dim=-1)
            for one, other in ((by_delay, by_delay), (by_delay, by_transit), (by_transit, by_transit))
        ]
        delay, transit = delays_s[:, None].expand(self.shape), transits.expand(self.shape)
        fine = torch.stack([curves, by_delay, by_transit], dim=-2) @ metric
        self.fine = fine.flatten(0, 2).float()
        self.local = torch.stack([log_length, *of_length, *inner, delay, transit], dim=-1).flatten(0, 2).float()

        some = (slice(None), slice(None, None, _COARSE[0]), slice(None, None, _COARSE[1]))
        self.coarse = fine[some][..., 0, :].flatten(0, 2).float()
        # A delay that leaves the upslope of the bolus after the last frame cannot be told from no flow.
        latest = times[-1] - aif_times.take(aif.argmax())
        self.prior = torch.where(delay > latest, -1e4, _log_prior(transit).expand(self.shape))[some].flatten().float()
        self.log_shapes = self.prior.new_zeros(self.shape[0])
        moments = torch.stack([-log_length, transit - log_length - math.log(60), delay], dim=-1)[some].flatten(0, 2)
        self.center = moments.mean(dim=0)[:, None].float()
        moments = moments - moments.mean(dim=0)
        self.moments = torch.cat([moments, moments.square()], dim=1).float()

    def prefer(self, shares: Tensor) -> None:
        """Take shares (S,) for the prior probability of the shapes."""
        by_shape = self.prior.unflatten(0, (self.shape[0], -1)) - self.log_shapes[:, None]
        self.log_shapes = shares.log()
        self.prior = (by_shape + self.log_shapes[:, None]).flatten()

    def over_grid(self, curves: Tensor, error: Tensor, coarse: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (3, n) of log flow, log volume and delay by the posterior over the coarse grid."""
        size = ((curves * error.rsqrt()[:, None]) @ coarse.T).clamp_min_(0)
        sums = (torch.softmax(torch.addcmul(self.prior, size, size, value=0.5), dim=1) @ table).T
        mean, square, template = sums[:3], sums[3:6], sums[6:]
        height = (template * curves.T).sum(dim=0).clamp_min(1e-6)
        variance = (square - mean.square()).clamp_min(0)
        mean = mean + self.center
        mean[:2] += height.log()
        variance[:2] += error / height.square()
        return mean, variance

    def about(
        self, broad: Tensor, curves: Tensor, error: Tensor, fine: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and variance (3, n) as `over_grid`, by normal posteriors of each shape near it.

        Also how narrow these are, from 0 to 1, (n,), and the probability of each shape, (n, S).

        Curves near a point are linear in delay and log transit time; the posterior then is normal (Laplace).
        """
        n_shapes, n_delays, n_transits = self.shape
        row = ((broad[2] - _DELAYS_S[0]) / _DELAY_STEP_S)[:, None]
        column = ((broad[1] - broad[0] + math.log(60) - _LOG_TRANSITS[0]) / _TRANSIT_STEP)[:, None]
        first = torch.arange(n_shapes, device=curves.device) * n_delays
        error = error[:, None]
        for reach in (*_STEPS_AT_ONCE, 0):
            # not the points at the edges, where the derivatives are one-sided
            row, column = row.round().clamp(1, n_delays - 2), column.round().clamp(1, n_transits - 2)
            index = (first + row.long()) * n_transits + column.long()
            height, along_delay, along_transit = torch.einsum("nsak,nk->ans", fine[index], curves)
            height = height.clamp_min(1e-6)
            log_length, of_delay, of_transit, dd, dm, mm, delay, transit = self.local[index].unbind(dim=-1)
            relative = error / height.square()
            away = transit - _USUAL_TRANSIT
            precision = torch.where(away < 0, 1 / _SHORTER_SD**2, 1 / _LONGER_SD**2)
            # Gradient and negative Hessian of the log posterior, both times `relative`.
            along_delay = along_delay / height
            along_transit = along_transit / height - relative * precision * away
            dd, mm = dd + relative / _LOOSE_S**2, mm + relative * precision
            determinant = (dd * mm - dm.square()).clamp_min(1e-12)
            later = (mm * along_delay - dm * along_transit) / determinant
            longer = (dd * along_transit - dm * along_delay) / determinant
            row = row + (later / _DELAY_STEP_S).clamp(-reach, reach)
            column = column + (longer / _TRANSIT_STEP).clamp(-reach, reach)
        later = later.clamp(-_DELAY_STEP_S, _DELAY_STEP_S)
        longer = longer.clamp(-_TRANSIT_STEP, _TRANSIT_STEP)
        bend = dd * later.square() + 2 * dm * later * longer + mm * longer.square()
        gain = 0.5 + later * along_delay + longer * along_transit - 0.5 * bend
        evidence = (
            gain / relative + _log_prior(transit) + self.log_shapes - 0.5 * (determinant / relative.square()).log()
        )
        share = torch.softmax(evidence, dim=1)

        log_flow = height.log() - log_length - of_delay * later - of_transit * longer
        means = torch.stack([log_flow, log_flow + transit + longer - math.log(60), delay + later])
        delay_variance, transit_variance, both = (relative / determinant * part for part in (mm, dd, -dm))

        def log_variance(by_transit: Tensor) -> Tensor:
            both_ways = 2 * of_delay * by_transit * both
            return of_delay.square() * delay_variance + both_ways + by_transit.square() * transit_variance + relative

        variances = torch.stack([log_variance(of_transit), log_variance(of_transit - 1), delay_variance])
        mean = (share * means).sum(dim=2)
        variance = (share * (variances + (means - mean[..., None]).square())).sum(dim=2)
        width = (share * (delay_variance / _NARROW[0] ** 2 + transit_variance / _NARROW[1] ** 2)).sum(dim=1)
        return mean, variance, 1 / (1 + width), share


def _log_prior(log_transit: Tensor) -> Tensor:
    away = log_transit - _USUAL_TRANSIT
    return -0.5 * (away / torch.where(away < 0, _SHORTER_SD, _LONGER_SD)).square()


def _tissue(
    aif: Tensor, aif_times: Tensor, times: Tensor, weights: Tensor, delays_s: Tensor, transits_s: Tensor
) -> Tensor:
    """Arterial curve convolved with each residue function, (S, D, T, frames), in HU s."""
    n_lags, n_delays = round(_LONGEST_RESIDUE_S / _DELAY_STEP_S), len(delays_s)
    edges = _DELAY_STEP_S * torch.arange(n_lags + 1, device=aif.device, dtype=aif.dtype)
    stays = torch.stack([integrated_residue(edges, transits_s[:, None], shape).diff() for shape in _TRANSIT_SHAPES])
    # Delays and lags share one grid: the arterial curve is evaluated once for each of their sums.
    before = delays_s[0] + _DELAY_STEP_S * (torch.arange(n_delays + n_lags - 1, device=aif.device) + 0.5)
    arterial = spline_through(aif_times, aif, weights, times[:, None] - before)
    return torch.einsum("tdl,srl->sdrt", arterial.unfold(1, n_lags, 1), stays)


def integrated_residue(time_s: Tensor, mtt_s: Tensor, shape: float) -> Tensor:
    """Integral from 0 to a time of the residue function of gamma-distributed transit times, s."""
    if math.isinf(shape):
        return torch.minimum(time_s, mtt_s)
    scaled, order = shape * time_s / mtt_s, time_s.new_tensor(shape)
    return time_s * torch.special.gammaincc(order, scaled) + mtt_s * torch.special.gammainc(order + 1, scaled)
