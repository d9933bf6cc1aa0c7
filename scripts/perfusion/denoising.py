"""Removal of noise from curves: few principal components, each smoothed along the anatomy."""

from __future__ import annotations

import torch
from torch import Tensor

from .guided import guided_smooth, tissue_guide
from .smoothing import MaskedGrid, Spacing

DEFAULT_COMPONENTS = 5
_VOXELS_AT_ONCE = 16384
_SURROUNDINGS_MM = 2.0


def principal_curves(curves: Tensor, n_components: int = DEFAULT_COMPONENTS) -> tuple[Tensor, Tensor]:
    """Mean (T,) and first principal components (T, K) of curves (T, N), each taken about its own mean over time.

    Delay, dispersion and flow shape the curves of a brain in few ways, while noise fills all dimensions: what is left
    out is noise for the most part. Curves are taken about their means, so that the few frames before contrast need not
    carry the baseline alone: its noise, multiplied by the number of frames, would be most of the noise of CBV.

    Args:
        curves: (T, N), smoothed.
        n_components: K; all T of them if there are fewer.
    """
    centred = curves - curves.mean(dim=0)
    common = centred.mean(dim=1) if curves.shape[1] else curves.new_zeros(len(curves))
    centred -= common[:, None]
    _, vectors = torch.linalg.eigh((centred @ centred.T).double())
    return common, vectors[:, -n_components:].to(curves.dtype)


def denoise(
    curves: Tensor,
    grid: MaskedGrid,
    basis: tuple[Tensor, Tensor],
    smoothing_mm: float,
    spacing_mm: Spacing,
    source: Tensor,
) -> Tensor:
    """Replace, in place, curves (T, N) by their part in a basis, smoothed along the anatomy; returns the curves.

    Only the few coefficients of the basis are smoothed, which costs less than to smooth all frames and is the same.

    Args:
        curves: (T, N) attenuation as measured.
        grid: where the N voxels lie.
        basis: see `principal_curves`.
        smoothing_mm: see `guided_smooth`.
        spacing_mm: voxel size along H, W and D.
        source: boolean (H, W, D), the brain without its vessels.
    """
    common, vectors = basis
    level = curves.mean(dim=0)
    coefficients = vectors.T @ curves - (vectors.T @ common)[:, None] - vectors.sum(dim=0)[:, None] * level
    guide_hu = tissue_guide(grid, level, max(smoothing_mm, _SURROUNDINGS_MM), spacing_mm, source)
    smooth = guided_smooth(grid, coefficients, guide_hu, smoothing_mm, spacing_mm, source)
    for start in range(0, curves.shape[1], _VOXELS_AT_ONCE):
        part = slice(start, start + _VOXELS_AT_ONCE)
        curves[:, part] = vectors @ smooth[:, part]
    curves += common[:, None]
    curves += level
    return curves
