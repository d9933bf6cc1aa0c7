"""How much later than the blood the maximum of a truncated residue function comes, and Tmax without it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .deconvolution import deconvolve

_TRANSIT_S = (1.0, 24.0)  # normal tissue takes 4 to 6 s, starved tissue up to about 20 s
_N_TRANSITS = 24
_FINE_STEPS = 8  # to a frame


def tmax_lateness(aif: Tensor, dt_s: float) -> tuple[Tensor, Tensor]:
    """Tmax of tissue that the blood reaches at once, by the transit time that is measured.

    A residue function is largest when the blood arrives. Truncation rounds off its steep rise, so its maximum is found
    later, the more so the longer the transit and the wider the bolus: by 1 to 3 s for usual ones, which decides
    about a limit of 6 s. The delay itself only shifts the maximum. So model tissue with exponential residue functions
    and without delay is deconvolved with the same arterial curve and the same truncation.

    Args:
        aif: arterial enhancement (T,).
        dt_s: time between frames in s.

    Returns:
        Measured transit times in s, rising, and the lateness at each of them in s.
    """
    shortest, longest = (math.log10(transit_s) for transit_s in _TRANSIT_S)
    transit_s = torch.logspace(shortest, longest, _N_TRANSITS, device=aif.device)
    found = deconvolve(_model_curves(aif, dt_s, transit_s), aif, dt_s, method="bcsvd")
    order = torch.argsort(found.mtt)
    return found.mtt[order], found.tmax[order]


def interpolate(x: Tensor, nodes: Tensor, values: Tensor) -> Tensor:
    """Values (N,) at x (N,) by linear interpolation between rising nodes (M,), constant beyond them."""
    upper = torch.searchsorted(nodes, x.contiguous()).clamp(1, len(nodes) - 1)
    low, high = nodes[upper - 1], nodes[upper]
    share = ((x - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return torch.lerp(values[upper - 1], values[upper], share)


def _model_curves(aif: Tensor, dt_s: float, transit_s: Tensor) -> Tensor:
    """Curves (M, T) of tissue with exponential residue functions, by convolution on a fine grid."""
    n_fine = len(aif) * _FINE_STEPS
    edge = torch.arange(n_fine + 1, device=aif.device, dtype=torch.float64) * (dt_s / _FINE_STEPS)
    frame = (torch.arange(n_fine, device=aif.device) / _FINE_STEPS).float()
    fine = interpolate(frame, torch.arange(len(aif), device=aif.device).float(), aif.float()).double()
    weights = -torch.exp(-edge / transit_s[:, None].double()).diff(dim=1)
    spectrum = torch.fft.rfft(fine, 2 * n_fine) * torch.fft.rfft(weights, 2 * n_fine)
    return torch.fft.irfft(spectrum, 2 * n_fine)[:, :n_fine:_FINE_STEPS].float()
