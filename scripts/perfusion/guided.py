"""Smoothing that averages over a neighbourhood and still keeps the border of grey and white matter."""

from __future__ import annotations

import torch
from torch import Tensor

from .quantiles import quantiles
from .smoothing import MaskedGrid, Spacing

_SOFTNESS_HU2 = 1.0  # variance of the guide below which it is noise, and the filter a plain mean
_GUIDE_RANGE = (0.01, 0.98)  # of the tissue; beyond lie partial volumes of bone and air


def guided_smooth(
    grid: MaskedGrid, values: Tensor, guide_hu: Tensor, sigma_mm: float, spacing_mm: Spacing, source: Tensor
) -> Tensor:
    """Smooth values (K, N) by a guided filter within the slices (He et al., IEEE TPAMI 2013;35:1397-1409).

    In the Gaussian neighbourhood of each voxel every row of values is fitted by a line over the guide; the lines that
    cover a voxel are averaged and read at its own guide. With attenuation as the guide this is what anatomy does: a
    voxel is a mixture of white matter, grey matter and fluid, and its perfusion the mixture of theirs. So the noise is
    that of a wide neighbourhood while detail is that of the guide, which is the mean of all frames and has little
    noise. Where attenuation tells nothing of the values, the slope is zero and the filter a plain mean.

    Args:
        grid: where the N voxels lie.
        values: (K, N), linear in the enhancement.
        guide_hu: (N,) attenuation, see `tissue_guide`.
        sigma_mm: standard deviation of the Gaussian neighbourhood; 0 leaves the values as they are.
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
    """Attenuation (N,) of the tissue about its mean: that of the surroundings where a voxel is none of the source.

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
