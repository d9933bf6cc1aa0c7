"""Noiseless curves with known flow, made on a fine grid, and a plain loop that deconvolves them one by one."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import gamma

FINE_S = 0.01


def arterial_curve(time_s: NDArray, arrival_s: float = 6.0, peak_hu: float = 300.0) -> NDArray:
    """A gamma-variate first pass with a fifth of it recirculating 8 s later."""

    def gamma_variate(start_s: float, shape: float, scale_s: float) -> NDArray:
        since = np.maximum(time_s - start_s, 0.0)
        return (since / (shape * scale_s)) ** shape * np.exp(shape - since / scale_s)

    return peak_hu * (gamma_variate(arrival_s, 3.0, 1.5) + 0.2 * gamma_variate(arrival_s + 8.0, 3.0, 3.3))


def residue(kind: str, time_s: NDArray, mtt_s: float) -> NDArray:
    """Residue function of a mean transit time: exponential, box, or the tail of gamma-distributed transit times."""
    if kind == "exponential":
        return np.exp(-time_s / mtt_s)
    if kind == "box":
        return (time_s < mtt_s).astype(float)
    return gamma.sf(time_s, a=3, scale=mtt_s / 3)


def tissue_curve(kind: str, cbf: float, mtt_s: float, delay_s: float, dt_s: float, n_frames: int) -> NDArray:
    """Tissue enhancement at the frame times, with kappa = rho = 1."""
    time_s = np.arange(round(n_frames * dt_s / FINE_S)) * FINE_S
    response = residue(kind, time_s, mtt_s)
    response[0] /= 2  # trapezoidal rule
    response = np.concatenate([np.zeros(round(delay_s / FINE_S)), response])[: len(time_s)]
    curve = fftconvolve(arterial_curve(time_s), response)[: len(time_s)] * FINE_S * cbf / 6000
    return curve[:: round(dt_s / FINE_S)]


def loop_osvd(tissue: NDArray, aif: NDArray, dt_s: float, threshold: float, limit: float) -> tuple[float, float]:
    """oSVD of one curve by the textbook: a dense singular value decomposition, one truncation after the other.

    Returns:
        The residue function's maximum over frames and half frames, and its oscillation index.
    """
    length = 2 * len(aif)
    padded = np.concatenate([aif, np.zeros_like(aif)])
    matrix = dt_s * np.stack([np.roll(padded, column) for column in range(length)], axis=1)
    left, singular, right = np.linalg.svd(matrix)
    curve = np.concatenate([tissue, np.zeros_like(tissue)])
    # Singular values of one frequency come in pairs that rounding may part.
    tried = sorted({round(v, 9) for v in singular / singular[0] if v >= threshold})
    least = min(value for value in tried if value >= 0.2)  # never truncated more
    for value in tried:
        kept = singular / singular[0] >= value - 1e-7
        found = right[kept].T @ ((left[:, kept].T @ curve) / singular[kept])
        bend = np.roll(found, 1) - 2 * found + np.roll(found, -1)
        index = np.abs(bend).mean() / found.max()
        if 0 < index <= limit or value == least:
            break
    spectrum = np.fft.rfft(found)
    half_frame_later = np.fft.irfft(spectrum * np.exp(0.5j * 2 * np.pi * np.fft.rfftfreq(length)), length)
    return max(found.max(), half_frame_later.max()), index
