"""The curves of an examination without most of their noise: few components, smoothed along the anatomy."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .alike import smooth_alike
from .denoising import from_basis, height, principal_curves, to_basis
from .enhancement import noise_to_peak
from .guided import guided_smooth, tissue_guide
from .residual_motion import remove_residual_motion
from .smoothing import MaskedGrid, Spacing

DEFAULT_SMOOTHING_MM = 3.5
_BASIS_SMOOTHING_MM = 2.0
_GUIDE_SMOOTHING_MM = 2.0  # at least
_AMOUNT_SMOOTHING = 0.5  # of the smoothing
_ALIKE = 0.15  # of the mean curve's height
_NOISE_CURVES = 3
_NOISE_SMOOTHING = 3.0  # times the smoothing


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
    """Project the curves of a grid to what tissue needs, and average like with like.

    The components come from curves smoothed by 2 mm. How much a voxel enhances is smoothed along the anatomy
    (`guided_smooth`); by it the coefficients are smoothed among voxels that enhance alike (`smooth_alike`), which keeps
    starved tissue from being drowned by its surroundings. Curves that vary from frame to frame, as no tissue does, go
    through the same filter: what comes out is its noise, at each place.

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
    amount = guided_smooth(grid, enhances, guide_hu, _AMOUNT_SMOOTHING * smoothing_mm, spacing_mm, outside_vessels)[0]
    values = smooth_alike(grid, values, amount, _ALIKE, smoothing_mm, spacing_mm, outside_vessels)
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
