"""Tmax and blood volume of tissue, by the model curves that explain its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_DELAYS_S, _DELAY_STEP_S = (-3.0, 18.0), 1.0
_TRANSITS_S, _N_TRANSITS = (1.5, 24.0), 8  # normal tissue takes 4 to 6 s, starved tissue up to about 20 s
_TRANSIT_SHAPES = (1.0, 2.0, 5.0, math.inf)
_UNCERTAINTY = 0.35  # of the height of the mean curve; a choice
_FINE_STEPS = 8  # to a frame
_SAMPLE = 8192  # voxels that choose the shape
_VOXELS_AT_ONCE = 2048  # whose likelihoods stay in the cache


class ModelCurves(NamedTuple):
    """Curves of model tissue: those of the first mean transit time at each delay, then those of the second, and so on.

    Attributes:
        curves: (M, T), about their means over time, of unit length.
        delays_s: (M,) of the blood.
        volumes: (M,) blood volume, as a share of the tissue, of which the curve has unit length.
    """

    curves: Tensor
    delays_s: Tensor
    volumes: Tensor


class TissueModels:
    """What curves of tissue tell of its Tmax and its blood volume.

    The residue function of a truncated deconvolution is largest 1 to 3 s late for usual boluses, and noise moves its
    maximum; the area under a curve lacks what comes after the last frame, and has the noise of the baseline times the
    number of frames. So a curve is compared with those of model tissue instead: the arterial curve convolved with
    residue functions of gamma-distributed transit times, for a grid of delays and mean transit times, at the flow that
    fits best. The values of a curve are the means of those of the models, weighted by their likelihood, as in Bayesian
    estimation (Boutelier et al., IEEE TMI 2012;31:1381-1395). The shape of the distribution, from one well-mixed
    compartment to transits of equal length, is the one that fits the whole examination best; a single curve does not
    tell it.

    The error that the likelihood supposes is a share of the mean curve's height rather than the noise, as what parts a
    smoothed curve from every model is neither white nor independent. A curve that is small against it is explained by
    every delay and gets the middle of them.

    Args:
        coefficients: (K, N) of the examination's curves in the basis, which choose the shape.
        basis: see `principal_curves`.
        aif: arterial enhancement (T,).
        dt_s: time between frames in s.
    """

    def __init__(self, coefficients: Tensor, basis: tuple[Tensor, Tensor], aif: Tensor, dt_s: float) -> None:
        common, vectors = basis
        axes = torch.cat([common[:, None], vectors], dim=1)
        delays_s = torch.arange(_DELAYS_S[0], _DELAYS_S[1] + _DELAY_STEP_S / 2, _DELAY_STEP_S, device=aif.device)
        sample = _in_axes(coefficients[:, :: max(1, coefficients.shape[1] // _SAMPLE)])
        self._models = min(
            (model_curves(aif, dt_s, delays_s, shape) for shape in _TRANSIT_SHAPES),
            key=lambda models: _misfit(sample, axes, models.curves @ axes),
        )
        self._error_hu = (_UNCERTAINTY * (common.max() - common.min())).clamp_min(1e-6)
        self._templates = (self._models.curves @ axes / self._error_hu).T.contiguous()

    def tmax(self, coefficients: Tensor) -> Tensor:
        """Tmax (N,) in s of curves (K, N), not below 0: when blood arrives, the residue function is largest."""
        found = coefficients.new_empty(coefficients.shape[1])
        for part, _, likelihood in self._compared(coefficients):
            found[part] = likelihood @ self._models.delays_s
        return found.clamp_min_(0)

    def blood_volume(self, coefficients: Tensor) -> Tensor:
        """Blood volume (N,) of curves (K, N), as a share of the tissue; without density and hematocrit."""
        found = coefficients.new_empty(coefficients.shape[1])
        for part, size, likelihood in self._compared(coefficients):
            found[part] = likelihood.mul_(size) @ (self._models.volumes * self._error_hu)
        return found

    def _compared(self, coefficients: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Some voxels, the size (n, M) of each model in their curves in units of the error, and its likelihood."""
        curves = _in_axes(coefficients)
        for start in range(0, curves.shape[1], _VOXELS_AT_ONCE):
            part = slice(start, start + _VOXELS_AT_ONCE)
            size = (curves[:, part].T @ self._templates).clamp_min_(0)
            # softmax, as exp alone is several times slower where it underflows: at nearly all models of a clear curve
            yield part, size, torch.softmax(size.square().div_(2), dim=1)


def model_curves(aif: Tensor, dt_s: float, delays_s: Tensor, transit_shape: float) -> ModelCurves:
    """Curves of model tissue of every delay and mean transit time.

    Args:
        aif: arterial enhancement (T,); a line between its frames.
        dt_s: time between frames in s.
        delays_s: (D,) of the blood.
        transit_shape: of the gamma distribution of transit times: 1 for an exponential residue function, infinite for
            a box.
    """
    n_fine, step_s = len(aif) * _FINE_STEPS, dt_s / _FINE_STEPS
    fine = torch.nn.functional.interpolate(
        aif[None, None].double(), size=n_fine - _FINE_STEPS + 1, mode="linear", align_corners=True
    )[0, 0]
    middle_s = (torch.arange(n_fine, device=aif.device, dtype=torch.float64) + 0.5) * step_s
    shortest, longest = (math.log10(transit_s) for transit_s in _TRANSITS_S)
    transits_s = torch.logspace(shortest, longest, _N_TRANSITS, device=aif.device, dtype=torch.float64)
    remaining = residue(middle_s / transits_s[:, None], transit_shape)
    omega = 2 * math.pi / step_s * torch.fft.rfftfreq(2 * n_fine, device=aif.device, dtype=torch.float64)
    spectrum = step_s * torch.fft.rfft(fine, 2 * n_fine) * torch.fft.rfft(remaining, 2 * n_fine)
    delayed = spectrum[:, None] * torch.exp(-1j * omega * delays_s[:, None].double())
    curves = torch.fft.irfft(delayed, 2 * n_fine)[..., :n_fine:_FINE_STEPS].flatten(0, 1)
    curves = curves - curves.mean(dim=1, keepdim=True)
    length = curves.norm(dim=1).clamp_min(1e-12)
    volumes = transits_s.repeat_interleave(len(delays_s)) / length
    return ModelCurves((curves / length[:, None]).float(), delays_s.repeat(_N_TRANSITS), volumes.float())


def residue(transits: Tensor, shape: float) -> Tensor:
    """Share of the tracer still in the tissue after so many mean transit times, gamma-distributed."""
    if math.isinf(shape):
        return (transits < 1).to(transits.dtype)
    return torch.special.gammaincc(transits.new_tensor(shape), shape * transits)


def _in_axes(coefficients: Tensor) -> Tensor:
    """Curves (1 + K, N) in the axes of the mean curve and the components."""
    return torch.cat([torch.ones_like(coefficients[:1]), coefficients])


def _misfit(curves: Tensor, axes: Tensor, models: Tensor) -> float:
    """Mean logarithm of what the best model leaves of each curve, curves (K, N) in the axes (T, K)."""
    explained = (curves.T @ models.T).clamp_min(0).amax(dim=1).square()
    left = (axes @ curves).square().sum(dim=0) - explained
    return float(left.clamp_min(1e-6).log().mean())
