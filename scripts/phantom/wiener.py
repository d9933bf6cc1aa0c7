"""Deconvolution in the Fourier domain with a Wiener filter, as in the software of some vendors."""

from __future__ import annotations

import torch
from torch import Tensor

from ..perfusion.deconvolution import PerfusionMaps

_DEFAULT_NOISE = 0.1
_CHUNK = 8192  # curves at a time, to limit memory


def wiener_residue(tissue: Tensor, aif: Tensor, dt_s: float, relative_noise: float) -> Tensor:
    """Residue functions times flow, ``conj(A) C / (|A|^2 + N^2)`` with the spectra A of the artery and C of the tissue.

    The filter's ratio of the noise to the residue's power is the same at all frequencies (Gobbel, Fike, Phys Med Biol
    39:1833, 1994; Wirestam et al., Magn Reson Med 43:691, 2000). The curves are zero-padded to twice their length, so a
    delay shifts the residue without wrapping around.

    Args:
        tissue: (N, T) enhancement.
        aif: (T,) arterial enhancement.
        dt_s: time between frames.
        relative_noise: N over the largest ``|A|``.

    Returns:
        (N, 2T) the residues at the lags 0 to T - 1 and then -T to -1, per second.
    """
    length = 2 * tissue.shape[1]
    arterial = torch.fft.rfft(aif.double() * dt_s, n=length)
    power = arterial.abs().square()
    inverse = arterial.conj() / (power + relative_noise**2 * power.max())
    return torch.fft.irfft(torch.fft.rfft(tissue, n=length) * inverse.to(torch.complex64), n=length)


def wiener_deconvolve(
    tissue: Tensor,
    aif: Tensor,
    dt_s: float,
    relative_noise: float | None = None,
    *,
    density_g_ml: float,
    hematocrit_factor: float,
) -> PerfusionMaps:
    """Flow and Tmax from the maximum of `wiener_residue`, volume from the areas.

    Args:
        tissue: (N, T) float32 enhancement in HU.
        aif: (T,) arterial enhancement in HU.
        dt_s: time between frames.
        relative_noise: as for `wiener_residue`; 0.1 if None, a choice.
        density_g_ml: of brain tissue.
        hematocrit_factor: of small over large vessels.

    Returns:
        The maps as of `scripts.perfusion.deconvolution.deconvolve`; Tmax is a multiple of the frame interval.
    """
    noise = _DEFAULT_NOISE if relative_noise is None else relative_noise
    peaks = [wiener_residue(part, aif, dt_s, noise).max(dim=1) for part in tissue.split(_CHUNK)]
    flow = torch.cat([peak.values for peak in peaks])
    lag = torch.cat([peak.indices for peak in peaks])
    lag = torch.where(lag < tissue.shape[1], lag, lag - 2 * tissue.shape[1])
    volume = (tissue.sum(dim=1) / aif.sum()).clamp_min(0.0)
    scale = hematocrit_factor / density_g_ml
    flows = flow > 0
    return PerfusionMaps(
        cbf=torch.where(flows, 6000.0 * scale * flow, 0.0),
        cbv=torch.where(flows, 100.0 * scale * volume, 0.0),
        mtt=torch.where(flows, volume / flow, 0.0),
        tmax=torch.where(flows, lag * dt_s, 0.0),
    )
