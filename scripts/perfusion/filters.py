"""The filter of the curves of an examination: few principal components, smoothed along the anatomy.

To smooth the coefficients of a few components costs less than to smooth all frames, and is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .enhancement import noise_to_peak
from .masked_grid import MaskedGrid, Spacing
from .residual_motion import remove_residual_motion

DEFAULT_SMOOTHING_MM = 3.5
DEFAULT_COMPONENTS = 5
_BASIS_SMOOTHING_MM = 2.0
_GUIDE_SMOOTHING_MM = 2.0  # at least
_AMPLITUDE_SMOOTHING = 0.5  # of the smoothing
_SIMILAR = 0.15  # standard deviation of the amplitudes that are averaged, of the mean curve's
_NOISE_CURVES = 3
_NOISE_SMOOTHING = 3.0  # times the smoothing
_VOXELS_AT_ONCE = 16384

_LEVELS = 8
_HIGHEST_LEVEL = 0.98  # quantile of the amplitudes; those above it count as equal
_SMALLEST_WEIGHT = 1e-4
_SMALLEST_AMPLITUDE = 0.2

_SOFTNESS_HU2 = 1.0  # variance of the guide below which it is noise, and the guided filter a plain mean
_GUIDE_RANGE = (0.01, 0.98)  # of the tissue; beyond lie partial volumes of bone and air
_MOST_VALUES = 2**20  # that a quantile needs; PyTorch sorts them, and takes no more than 2**24


class FilteredCurves(NamedTuple):
    """Curves of the N voxels of a grid in a basis of few components."""

    coefficients: Tensor
    """(K, N), filtered; see `principal_curves`."""
    level: Tensor
    """(N,) mean attenuation over time, HU."""
    basis: tuple[Tensor, Tensor]
    """Mean curve (T,) and components (T, K)."""
    noise_hu: Tensor
    """(N,) standard deviation of the noise of a coefficient after the filter, which is that of a frame, HU."""
    motion: Tensor
    """(T, 3) displacement of each frame that was taken out of the components, see `remove_residual_motion`."""
    noise_ratio: float
    """Noise of the curves after a Gaussian of 2 mm over the peak of their mean."""

    def attenuation(self) -> Tensor:
        """The curves (T, N) in HU."""
        out = self.coefficients.new_empty(len(self.basis[0]), self.coefficients.shape[1])
        return from_basis(self.coefficients, self.level, self.basis, out=out)

    def enhancement(self, n_baseline: int) -> Tensor:
        """The curves (T, N) in HU over the mean of their first frames."""
        curves = self.attenuation()
        curves -= curves[:n_baseline].mean(dim=0)
        return curves


def filter_curves(
    series: Tensor,
    grid: MaskedGrid,
    tissue: Tensor,
    outside_vessels: Tensor,
    n_baseline: int,
    smoothing_mm: float,
    spacing_mm: Spacing,
) -> FilteredCurves:
    """Project the curves of a grid to a few principal components, and smooth their coefficients in space.

    The components come from curves smoothed by 2 mm. The amplitude of each curve is smoothed along the anatomy
    (`guided_smooth`). Then the coefficients are averaged over neighbors of similar amplitude (`bilateral_smooth`),
    which preserves hypoperfused tissue. Curves of the highest frequencies, which no tissue has, pass the same filter:
    what is left of them is the noise at each voxel.

    Args:
        series: (T, H, W, D) in HU.
        grid: where the curves lie, the brain.
        tissue: boolean (H, W, D), brain without vessels and fluid, which the components are made of.
        outside_vessels: boolean (H, W, D), the voxels whose values are averaged.
        n_baseline: frames before contrast.
        smoothing_mm: standard deviation of the neighborhood; 0 for none.
        spacing_mm: voxel size along H, W and D.
    """
    smooth = grid.curves(series, _BASIS_SMOOTHING_MM, spacing_mm, source=tissue)
    noise_ratio = noise_to_peak(smooth, n_baseline)
    motion = remove_residual_motion(smooth, grid, n_baseline, spacing_mm)
    common, vectors = basis = principal_curves(smooth)
    del smooth
    noise = _noise_curves(common, vectors)
    values, level = to_basis(grid.curves(series), (common, torch.cat([vectors, noise], dim=1)))
    coefficients, noise_hu = filter_coefficients(values, level, basis, grid, outside_vessels, smoothing_mm, spacing_mm)
    return FilteredCurves(coefficients, level, basis, noise_hu, motion, noise_ratio)


def filter_coefficients(
    values: Tensor,
    level: Tensor,
    basis: tuple[Tensor, Tensor],
    grid: MaskedGrid,
    outside_vessels: Tensor,
    smoothing_mm: float,
    spacing_mm: Spacing,
) -> tuple[Tensor, Tensor]:
    """Filtered coefficients (K, N) of curves, and the standard deviation (N,) of their noise; see `filter_curves`.

    Args:
        values: (K + L, N), coefficients in the basis and those of L curves of noise alone.
        level: (N,) mean attenuation over time, HU.
        basis: mean curve (T,) and components (T, K).
        grid: where the curves lie.
        outside_vessels: boolean (H, W, D), the voxels whose values are averaged.
        smoothing_mm: standard deviation of the neighborhood; 0 for none.
        spacing_mm: voxel size along H, W and D.
    """
    n_components = basis[1].shape[1]
    guide_hu = tissue_guide(grid, level, max(smoothing_mm, _GUIDE_SMOOTHING_MM), spacing_mm, outside_vessels)
    enhances = height(values[:n_components], basis)[None]
    amplitude = guided_smooth(
        grid, enhances, guide_hu, _AMPLITUDE_SMOOTHING * smoothing_mm, spacing_mm, outside_vessels
    )[0]
    values = bilateral_smooth(grid, values, amplitude, _SIMILAR, smoothing_mm, spacing_mm, outside_vessels)
    coefficients, left = values[:n_components], values[n_components:]
    variance = grid.smooth(left.square().mean(dim=0)[None], _NOISE_SMOOTHING * smoothing_mm, spacing_mm)[0]
    return coefficients, variance.sqrt()


def _noise_curves(common: Tensor, vectors: Tensor) -> Tensor:
    """Orthonormal curves (T, 3) of the highest frequencies that have no part in the mean curve and the components."""
    n_frames = len(common)
    frame = (torch.arange(n_frames, device=common.device, dtype=torch.float64) + 0.5) * (math.pi / n_frames)
    fastest = torch.arange(n_frames - 1, n_frames - 1 - _NOISE_CURVES, -1, device=common.device)
    signal = torch.cat([torch.ones_like(common)[:, None], common[:, None], vectors], dim=1).double()
    joint, _ = torch.linalg.qr(torch.cat([signal, torch.cos(frame[:, None] * fastest)], dim=1))
    return joint[:, signal.shape[1] :].to(common.dtype)


def principal_curves(curves: Tensor, n_components: int = DEFAULT_COMPONENTS) -> tuple[Tensor, Tensor]:
    """Mean (T,) and first principal components (T, K) of curves (T, N), each taken about its own mean over time.

    Delay, dispersion and flow vary the curves of a brain in a few ways; noise is spread over all dimensions, so the
    components that are left out hold mostly noise. Each curve is centered on its own mean: a baseline from the few
    frames before contrast would dominate the noise of CBV.

    Args:
        curves: (T, N), smoothed.
        n_components: K; all T of them if there are fewer.
    """
    n_frames, n_voxels = curves.shape
    total, gram = (curves.new_zeros(size, dtype=torch.float64) for size in (n_frames, (n_frames, n_frames)))
    for part in curves.split(_VOXELS_AT_ONCE, dim=1):
        centered = part - part.mean(dim=0)
        total += centered.sum(dim=1)
        gram += centered @ centered.T
    common = total / max(n_voxels, 1)
    _, vectors = torch.linalg.eigh(gram - n_voxels * torch.outer(common, common))
    return common.to(curves.dtype), vectors[:, -n_components:].to(curves.dtype)


def to_basis(curves: Tensor, basis: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Coefficients (K, N) of curves (T, N) in a basis, and their means over time (N,)."""
    common, vectors = basis
    level = curves.mean(dim=0)
    return vectors.T @ curves - (vectors.T @ common)[:, None] - vectors.sum(dim=0)[:, None] * level, level


def from_basis(coefficients: Tensor, level: Tensor, basis: tuple[Tensor, Tensor], out: Tensor) -> Tensor:
    """The curves (T, N) that coefficients and means over time stand for, written to `out`."""
    common, vectors = basis
    for start in range(0, out.shape[1], _VOXELS_AT_ONCE):
        part = slice(start, start + _VOXELS_AT_ONCE)
        out[:, part] = vectors @ coefficients[:, part]
    out += common[:, None]
    out += level
    return out


def height(coefficients: Tensor, basis: tuple[Tensor, Tensor]) -> Tensor:
    """Height (N,) of the curves that coefficients (K, N) stand for, that of the mean curve being 1."""
    common, vectors = basis
    return 1 + (vectors.T @ common) @ coefficients / common.square().sum().clamp_min(1e-12)


def bilateral_smooth(
    grid: MaskedGrid,
    values: Tensor,
    amplitude: Tensor,
    width: float,
    sigma_mm: float,
    spacing_mm: Spacing,
    source: Tensor,
) -> Tensor:
    """Smooth values (K, N) by a joint bilateral filter within the slices (Tomasi and Manduchi, ICCV 1998:839-846).

    This is a smoothing that preserves hypoperfused tissue: it averages neighbors of similar amplitude. The weight of a
    neighbor decreases with its distance, with the difference of the amplitudes, and with the square of its own
    amplitude. In a plain mean the tissue with the highest flow dominates: at the border of a lesion the mean has the
    timing of the normal tissue. The inverse amplitude would give equal weights; it is squared because the scanner and
    the pixels have mixed tissues before. The power is a choice: on the phantom, the second power finds as much delayed
    tissue as there is.

    The filter is linear for a fixed amplitude: it is computed at a few levels of amplitude and interpolated between
    them (Durand and Dorsey, ACM Trans Graph 2002;21:257-266).

    Args:
        grid: where the N voxels lie.
        values: (K, N).
        amplitude: (N,), by which voxels are compared; an amplitude below 0.2 is weighted as 0.2.
        width: standard deviation of the Gaussian over differences of the amplitude.
        sigma_mm: standard deviation of the Gaussian neighborhood; 0 leaves the values as they are.
        spacing_mm: voxel size along H, W and D.
        source: boolean (H, W, D), the voxels whose values are used.
    """
    if sigma_mm <= 0 or not len(amplitude):
        return values
    levels = torch.linspace(0, 1, _LEVELS, device=amplitude.device) * quantiles(amplitude, [_HIGHEST_LEVEL]).clamp_min(
        1e-6
    )
    place = (amplitude / levels[1]).clamp(0, _LEVELS - 1)
    weight = amplitude.clamp_min(_SMALLEST_AMPLITUDE).pow_(-2)
    smooth = torch.zeros_like(values)
    for index, level in enumerate(levels):
        near = torch.exp(-0.5 * ((amplitude - level) / width) ** 2).mul_(weight)
        terms = grid.smooth(torch.cat([values * near, near[None]]), sigma_mm, spacing_mm, source)
        fraction = (1 - (place - index).abs()).clamp_min_(0) / terms[-1].clamp_min(_SMALLEST_WEIGHT)
        smooth.addcmul_(terms[:-1], fraction)
    return smooth


def guided_smooth(
    grid: MaskedGrid, values: Tensor, guide_hu: Tensor, sigma_mm: float, spacing_mm: Spacing, source: Tensor
) -> Tensor:
    """Smooth values (K, N) by a guided filter within the slices (He et al., IEEE TPAMI 2013;35:1397-1409).

    In the Gaussian neighborhood of each voxel the values are fitted by a line over the guide; the lines that cover a
    voxel are averaged and evaluated at its guide. The guide is attenuation: a voxel is a mixture of white matter, gray
    matter and fluid, and its perfusion the mixture of theirs. The result has the noise of a wide neighborhood and the
    detail of the guide, which is the mean of all frames and has little noise. Where attenuation does not predict the
    values, the slope is zero and the filter a plain mean.

    Args:
        grid: where the N voxels lie.
        values: (K, N), linear in the enhancement.
        guide_hu: (N,) attenuation, see `tissue_guide`.
        sigma_mm: standard deviation of the Gaussian neighborhood; 0 leaves the values as they are.
        spacing_mm: voxel size along H, W and D.
        source: boolean (H, W, D), the voxels whose values are used.
    """
    if sigma_mm <= 0:
        return values
    n_values = len(values)
    terms = torch.cat([values, values * guide_hu, torch.stack([guide_hu, guide_hu.square()])])
    means = grid.smooth(terms, sigma_mm, spacing_mm, source)
    mean, product, (guide, square) = means[:n_values], means[n_values:-2], means[-2:]
    slope = (product - mean * guide) / (square - guide.square()).clamp_min(0).add_(_SOFTNESS_HU2)
    level = mean - slope * guide
    slope, level = grid.smooth(torch.cat([slope, level]), sigma_mm, spacing_mm, source).split(n_values)
    return level.addcmul_(slope, guide_hu)


def tissue_guide(grid: MaskedGrid, mean_hu: Tensor, sigma_mm: float, spacing_mm: Spacing, source: Tensor) -> Tensor:
    """Attenuation (N,) of the tissue minus its mean; outside the source, the attenuation of the surrounding source.

    Args:
        grid: where the N voxels lie.
        mean_hu: (N,) mean of all frames in HU.
        sigma_mm: standard deviation of the Gaussian over the surroundings.
        spacing_mm: voxel size along H, W and D.
        source: boolean (H, W, D), the brain without its vessels; 0 everywhere where it is empty.
    """
    inside = grid.curves(source[None])[0] > 0
    values = torch.where(inside, mean_hu, torch.nan)
    low, high = quantiles(values, _GUIDE_RANGE)
    around = grid.smooth(mean_hu[None], sigma_mm, spacing_mm, source)[0]
    return (torch.where(inside, mean_hu, around).clamp(low, high) - values.nanmean()).nan_to_num_()


def quantiles(values: Tensor, fractions: Sequence[float]) -> Tensor:
    """Quantiles (S,) of values (N,), NaN left out, at fractions from 0 to 1; of every k-th value where N is large."""
    sample = values[:: -(-len(values) // _MOST_VALUES)]
    return torch.nanquantile(sample, sample.new_tensor(fractions))
