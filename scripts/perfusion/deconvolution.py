"""Deconvolution of tissue curves by an arterial input function with truncated singular values.

Tissue enhancement is the arterial curve convolved with the flow-scaled residue function,
``c(t) = (rho / kH) * CBF * (a * R)(t)``. Three regularised inverses are offered:

* ``ssvd``: Toeplitz matrix, fixed truncation (Ostergaard et al., Magn Reson Med 1996;36:715-725);
* ``bcsvd``: block-circulant matrix of twice the length, fixed truncation, insensitive to the tracer's arrival;
* ``osvd``: block-circulant, truncation chosen voxel by voxel so that the residue function is not noisy and does
  not oscillate (both Wu et al., Magn Reson Med 2003;50:164-174).

A circulant matrix is diagonal in the discrete Fourier basis, so its singular values are the magnitudes of the arterial
spectrum, in pairs, and every truncation is a subset of frequencies. All truncations therefore share one projection of
the curves, and the second half of the padded curve, which is zero, is never multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Method = Literal["osvd", "bcsvd", "ssvd"]

#: Smallest relative singular value kept. ssvd and bcsvd: 20 % and 10 %, the common choices for noisy curves (Wu 2003).
#: osvd: the least truncation that is tried; below it the spectrum of an AIF is interpolation error.
DEFAULT_THRESHOLD: dict[str, float] = {"ssvd": 0.2, "bcsvd": 0.1, "osvd": 0.003}

#: Share of the maximum from which on an earlier local maximum of the residue function is the one that counts.
PLATEAU = 0.9

#: The noise of the residue function may be this fraction of its maximum: the highest of a hundred noisy values is 2.5
#: standard deviations high, so that noise raises the flow by about 25 % at most. A choice.
LARGEST_NOISE = 0.1

#: osvd keeps singular values above this fraction of the largest, however noisy a curve is: the fixed truncation of
#: Ostergaard 1996. Without it, neither limit may be met but by the mean alone, and the flow is near zero.
LEAST_TRUNCATED = 0.2

_MEDIAN_OF_NORMAL = 0.6745  # median absolute value in standard deviations
_ROUNDING = 1e-4  # of a maximum; more than float32 loses in a sum over the frequencies


#: Implementations after Wu 2003 take 0.035 for residue functions of more than 100 frames. The index is a mean over all
#: frames of a sum that does not depend on their number, at least 2 for a function that rises at once: 0.026 for 38
#: frames (76 s at 2 s a frame), where 0.035 reads 0.13 to 0.28 of the flow of noiseless short transits. Noise is
#: bounded by `LARGEST_NOISE` instead, and the index is a second guard.
DEFAULT_OSCILLATION_INDEX = 0.1


class PerfusionMaps(NamedTuple):
    """Perfusion of each voxel, float32 tensors of shape ``(N,)``."""

    cbf: Tensor
    """Cerebral blood flow, ml/100 g/min."""
    cbv: Tensor
    """Cerebral blood volume, ml/100 g."""
    mtt: Tensor
    """Mean transit time, s."""
    tmax: Tensor
    """Time at which the residue function is largest, s; negative where the tissue leads the arterial curve."""


def deconvolve(
    tissue: Tensor,
    aif: Tensor,
    dt_s: float,
    *,
    method: Method = "osvd",
    threshold: float | None = None,
    oscillation_index: float = DEFAULT_OSCILLATION_INDEX,
    noise: Tensor | float | None = None,
    density_g_ml: float = 1.04,
    hematocrit_factor: float = 0.733,
    chunk_size: int = 8192,
) -> PerfusionMaps:
    """Compute the four perfusion values of every curve.

    CBF is ``kH / rho * max(R)``, CBV the ratio of areas ``kH / rho * sum(tissue) / sum(aif)`` (it needs no
    deconvolution), MTT = CBV / CBF by the central volume theorem, Tmax the time of the maximum. The block-circulant
    residue is band-limited, so its maximum is read between the frames too.

    Args:
        tissue: enhancement over the baseline, shape (N, T), in any unit (HU).
        aif: arterial enhancement, shape (T,), in the same unit.
        dt_s: time between frames in s.
        method: ``"osvd"``, ``"bcsvd"`` or ``"ssvd"``.
        threshold: smallest singular value kept, relative to the largest; ``None`` takes `DEFAULT_THRESHOLD`. For
            ``osvd`` it bounds the search from below.
        oscillation_index: the largest oscillation index allowed by ``osvd``: the mean absolute second difference of
            the residue function over its maximum. The difference is taken around the circle here, so that what is kept
            does not depend on the delay.
        noise: standard deviation of the white noise of each frame, a scalar or (N,), which bounds what ``osvd`` keeps:
            the noise of the residue function must not exceed `LARGEST_NOISE` of its maximum. None takes `noise_of`.
        density_g_ml: rho, density of brain tissue.
        hematocrit_factor: kH = (1 - H_artery) / (1 - H_capillary) = (1 - 0.45) / (1 - 0.25), the usual hematocrits of
            large and small vessels.
        chunk_size: voxels worked on at a time; bounds the extra memory.

    Returns:
        `PerfusionMaps` of float32 tensors of shape (N,) on the device of `tissue`. A curve without positive flow
        has zeros everywhere.

    Raises:
        TypeError: `tissue` or `aif` is not a floating-point tensor.
        ValueError: shapes, values or options do not fit; the message names the argument.

    Example:
        >>> aif = torch.tensor([0.0, 0.0, 100.0, 60.0, 20.0, 5.0, 0.0, 0.0])
        >>> maps = deconvolve(0.04 * aif[None], aif, dt_s=1.0, density_g_ml=1.0, hematocrit_factor=1.0)
        >>> round(maps.cbv.item(), 2)
        4.0
    """
    _check(tissue, aif, dt_s, method, threshold, oscillation_index, density_g_ml, hematocrit_factor, chunk_size)
    relative_limit = DEFAULT_THRESHOLD[method] if threshold is None else threshold
    kernel = aif.detach().to(device=tissue.device, dtype=torch.float64) * dt_s
    find_peak = _peak_finder(kernel, method, relative_limit, oscillation_index)
    if noise is not None:
        noise = torch.as_tensor(noise, device=tissue.device, dtype=torch.float32).expand(tissue.shape[0])

    n_voxels = tissue.shape[0]
    flow, peak_frame, area = (torch.empty(n_voxels, device=tissue.device) for _ in range(3))
    for start in range(0, n_voxels, chunk_size):
        part = slice(start, start + chunk_size)
        curves = tissue[part].float()
        flow[part], peak_frame[part] = find_peak(curves, noise_of(curves) if noise is None else noise[part])
        area[part] = curves.sum(dim=1)

    scale = hematocrit_factor / density_g_ml
    flows = flow > 0
    nothing = flow.new_zeros(())
    volume = (area / float(aif.sum())).clamp_min(0)
    return PerfusionMaps(
        cbf=torch.where(flows, flow * (6000.0 * scale), nothing),
        cbv=torch.where(flows, volume * (100.0 * scale), nothing),
        mtt=torch.where(flows, volume / flow, nothing),
        tmax=torch.where(flows, peak_frame * dt_s, nothing),
    )


PeakFinder = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def noise_of(curves: Tensor) -> Tensor:
    """Standard deviation (n,) of the white noise of curves (n, T), from the median of their second differences.

    The variance of a second difference is six times that of a frame; the median leaves out the few frames in which the
    bolus bends the curve.
    """
    return curves.diff(n=2, dim=1).abs().median(dim=1).values / (_MEDIAN_OF_NORMAL * math.sqrt(6))


def _peak_finder(kernel: Tensor, method: Method, relative_limit: float, oscillation_index: float) -> PeakFinder:
    """Return the function that gives height and place (in frames) of the residue's maximum for curves (n, T)."""
    if method == "ssvd":
        inverse = _toeplitz_inverse(kernel, relative_limit).float()
        return lambda curves, _: _first_maximum(curves @ inverse)
    basis = _CirculantBasis(kernel, relative_limit)
    if method == "bcsvd":
        at_frames = basis.period.flatten(1) @ basis.project.flatten(0, 1)
        between = torch.bmm(basis.between, basis.project).flatten(0, 1)
        return lambda curves, _: _first_peak(at_frames @ curves.T, _highest((between @ curves.T).unflatten(0, (2, -1))))
    return partial(_least_oscillating_peak, basis=basis, oscillation_index=oscillation_index)


def _toeplitz_inverse(kernel: Tensor, relative_limit: float) -> Tensor:
    """Truncated pseudo-inverse (transposed, T x T) of the lower triangular convolution matrix."""
    lag = torch.arange(len(kernel), device=kernel.device)
    lag = lag[:, None] - lag[None, :]
    matrix = torch.where(lag >= 0, kernel[lag.clamp_min(0)], kernel.new_zeros(()))
    return torch.linalg.pinv(matrix, rtol=relative_limit).T


class _CirculantBasis:
    """Singular vectors of the circulant convolution matrix: a cosine and a sine for each frequency.

    Cosines make the even part of a residue function and sines the odd one, ``R(t) = even(t) + odd(t)`` and
    ``R(-t) = even(t) - odd(t)``, so that both are only computed for one half of the period. With ``m`` frequencies
    kept, in the order of falling singular value, ``coefficients = project[:, :m] @ curves.T`` for cosines and sines,
    and ``even, odd = residue[:, :, :m] @ coefficients``. Voxels come last: their values at a time lie side by side.

    Attributes:
        project: (2, M, T) curves to coefficients; the padded zeros have no columns.
        residue: (2, T + 1, M) coefficients to the parts at the frames 0 to T; the period is 2T.
        period: (2T, 2, M) coefficients to the function at the frames -T to T - 1.
        between: (2, T, M) coefficients to the parts half a frame after the frames 0 to T - 1.
        curvature: (2, T + 1, M) coefficients to the parts of the circular second difference, doubled but for the frames
            0 and T, which the period has once.
        n_least: frequencies that are always kept.
        noise_gain: (M,) standard deviation of the residue function with so many frequencies, for noise of 1 in each
            frame.
        sharpness: (M,) sum of absolute second differences that one unit of amplitude causes at least.
    """

    def __init__(self, kernel: Tensor, relative_limit: float) -> None:
        n_frames = len(kernel)
        length = 2 * n_frames
        spectrum = torch.fft.rfft(kernel, n=length)
        size = spectrum.abs()
        order = torch.argsort(size, descending=True, stable=True)
        kept = order[size[order] >= relative_limit * size.max()]

        omega = 2 * math.pi / length * kept.double()
        share = torch.where((kept == 0) | (kept == n_frames), 1.0, 2.0).double()
        time = torch.arange(n_frames + 1, device=kernel.device, dtype=torch.float64)
        phase = omega[:, None] * time[:n_frames]
        forward = torch.polar(torch.ones_like(phase), -phase) * (share / length / spectrum[kept])[:, None]
        self.project = torch.stack([forward.real, forward.imag]).float()
        residue = _waves(omega, time)
        bend = 4 * torch.sin(omega / 2) ** 2
        times = torch.full_like(time, 2.0)
        times[[0, -1]] = 1.0
        self.residue = residue.float()
        self.period = _waves(omega, torch.cat([time[:-1] - n_frames, time[:-1]])).transpose(0, 1).contiguous().float()
        self.between = _waves(omega, time[:n_frames] + 0.5).float()
        self.curvature = (residue * bend * times[:, None]).float()
        self.sharpness = (length * bend / share).float()
        self.n_least = max(1, int((size[kept] >= LEAST_TRUNCATED * size.max()).sum()))
        self.noise_gain = self.project.square().sum(dim=(0, 2)).div(2).cumsum(0).sqrt()


def _waves(omega: Tensor, time: Tensor) -> Tensor:
    """cos(omega t) and -sin(omega t) for every frequency, shape (2, len(time), M)."""
    phase = time[:, None] * omega
    return torch.stack([phase.cos(), -phase.sin()])


def _highest(parts: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Largest value (n,) over the period of functions whose even and odd parts are (times, n)."""
    even, odd = parts
    return odd.abs().add_(even).amax(dim=0)


def _least_oscillating_peak(
    curves: Tensor, noise: Tensor, *, basis: _CirculantBasis, oscillation_index: float
) -> tuple[Tensor, Tensor]:
    """Peak of the residue with the least truncation whose oscillation index is within the limit, curves (n, T)."""
    n_curves, n_frames = curves.shape
    coefficients = (basis.project.flatten(0, 1) @ curves.T).unflatten(0, (2, -1))
    budget = oscillation_index * 2 * n_frames
    roughest, possible = _bounds(coefficients, basis, budget)
    # the least maximum at which the noise of each truncation is small enough
    least = basis.noise_gain[:, None] * (noise / LARGEST_NOISE)
    possible &= budget * least <= roughest
    kept = torch.full((n_curves,), basis.n_least, dtype=torch.int32, device=curves.device)
    searching = torch.ones_like(possible[0])
    cosines, sines = coefficients
    (even, odd), (even_bend, odd_bend) = basis.residue, basis.curvature
    for rank in (possible[basis.n_least :].any(dim=1).nonzero().squeeze(1) + basis.n_least + 1).flip(0).tolist():
        tried = torch.nonzero(searching & possible[rank - 1]).squeeze(1)
        if not len(tried):
            continue
        some_cosines, some_sines = (part[:rank].index_select(1, tried) for part in (cosines, sines))
        # In both halves of the period together, |even + odd| + |even - odd| is twice the larger part.
        bends = torch.maximum((even_bend[:, :rank] @ some_cosines).abs_(), (odd_bend[:, :rank] @ some_sines).abs_())
        roughness = bends.sum(dim=0)
        hopeful = torch.nonzero(roughness <= roughest[rank - 1].index_select(0, tried)).squeeze(1)
        some_cosines, some_sines = (part.index_select(1, hopeful) for part in (some_cosines, some_sines))
        highest = _highest((even[:, :rank] @ some_cosines, odd[:, :rank] @ some_sines))
        enough = least[rank - 1].index_select(0, tried[hopeful])
        found = tried[hopeful[(roughness[hopeful] <= budget * highest) & (enough <= highest)]]
        kept.index_fill_(0, found, rank)
        searching.index_fill_(0, found, False)
    most = int(kept.max())
    coefficients = coefficients[:, :most] * (torch.arange(most, device=curves.device)[:, None] < kept)
    residue = basis.period[:, :, :most].flatten(1) @ coefficients.flatten(0, 1)
    return _first_peak(residue, _highest(torch.bmm(basis.between[:, :, :most], coefficients)))


def _bounds(coefficients: Tensor, basis: _CirculantBasis, budget: float) -> tuple[Tensor, Tensor]:
    """What the coefficients (2, M, n) tell of each truncation before it is tried.

    Most truncations of a noisy curve need not be: the sum of absolute second differences is at least each of its
    Fourier magnitudes, and the maximum at most the sum of amplitudes, or that with half of the frequencies and the sum
    of the amplitudes of the others.

    Returns:
        The largest sum of absolute second differences that could be within the limit, and whether the least one is
        within that, both (M, n). One frequency is always possible.
    """
    amplitude = torch.hypot(*coefficients)
    smoothest = amplitude * basis.sharpness[:, None]
    roughest = amplitude.mul_(budget)
    half = len(amplitude) // 2
    for rank, (fewer, more) in enumerate(pairwise(roughest), start=2):  # faster than cumsum and cummax along the rows
        more += fewer
        if rank == half:
            even, odd = (
                matrix[:, :half] @ part[:half] for matrix, part in zip(basis.residue, coefficients, strict=True)
            )
            torch.minimum(more, (budget * (1 + _ROUNDING)) * _highest((even, odd)), out=more)
    for fewer, more in pairwise(smoothest):
        torch.maximum(fewer, more, out=more)
    possible = smoothest <= roughest
    possible[0] = True
    return roughest, possible


def _first_peak(residue: Tensor, between: Tensor) -> tuple[Tensor, Tensor]:
    """Height and place, in frames, of the maximum of residues (2T, n) at the frames from -T on.

    A residue function with a plateau has many near maxima, of which noise would pick any: the place is that of the
    first local maximum within 10 % of the largest value, refined by a parabola.

    Args:
        residue: residue functions at the frames.
        between: (n,) their largest value half way between two frames.
    """
    highest = residue.amax(dim=0)
    before, middle, after = residue[:-2], residue[1:-1], residue[2:]
    # Ones and zeros of the same type, written in place, take a third of the time of Boolean masks.
    candidate = torch.maximum(before, PLATEAU * highest).le_(middle).mul_(after.clone().lt_(middle))
    from_end = torch.arange(len(middle), 0, -1, device=residue.device, dtype=residue.dtype)[:, None]
    index = len(residue) - 1 - candidate.mul_(from_end).amax(dim=0, keepdim=True).long().clamp_min(1)
    left, top, right = (residue.gather(0, index + step).squeeze(0) for step in (-1, 0, 1))
    bend = 2 * top - left - right
    shift = torch.where(bend > 0, (right - left) / (2 * bend), 0.0).clamp(-0.5, 0.5)
    return torch.maximum(highest, between), index.squeeze(0) + shift - len(residue) // 2


def _first_maximum(residue: Tensor) -> tuple[Tensor, Tensor]:
    """Height and frame of the maximum of causal residues (n, T)."""
    height, index = residue.max(dim=1)
    return height, index.float()


def _check(
    tissue: Tensor,
    aif: Tensor,
    dt_s: float,
    method: str,
    threshold: float | None,
    oscillation_index: float,
    density_g_ml: float,
    hematocrit_factor: float,
    chunk_size: int,
) -> None:
    """Raise an error that names the first argument of `deconvolve` that does not fit."""
    for name, value in (("tissue", tissue), ("aif", aif)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise TypeError(f"{name} must be a floating-point tensor, got {getattr(value, 'dtype', type(value))}")
    if tissue.ndim != 2:
        raise ValueError(f"tissue must have shape (N, T), got {tuple(tissue.shape)}")
    if aif.shape != tissue.shape[1:] or len(aif) < 3:
        raise ValueError(
            f"aif must have one value per frame (at least 3) of tissue {tuple(tissue.shape)}, got {tuple(aif.shape)}"
        )
    if not torch.isfinite(aif).all():
        raise ValueError("aif must be finite, got NaN or infinity")
    if not float(aif.sum()) > 0:
        raise ValueError(f"aif must have a positive area (contrast that arrives), got {float(aif.sum()):g}")
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {get_args(Method)}, got {method!r}")
    if threshold is not None and not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    positive = {
        "dt_s": dt_s,
        "oscillation_index": oscillation_index,
        "density_g_ml": density_g_ml,
        "hematocrit_factor": hematocrit_factor,
        "chunk_size": chunk_size,
    }
    for name, number in positive.items():
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name} must be positive, got {number}")
