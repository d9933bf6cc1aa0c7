"""Removal of noise from curves: the few principal components that tissue needs, whose coefficients can be smoothed.

To smooth the coefficients costs less than to smooth all frames and is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

DEFAULT_COMPONENTS = 5
_VOXELS_AT_ONCE = 16384


def principal_curves(curves: Tensor, n_components: int = DEFAULT_COMPONENTS) -> tuple[Tensor, Tensor]:
    """Mean (T,) and first principal components (T, K) of curves (T, N), each taken about its own mean over time.

    Delay, dispersion and flow shape the curves of a brain in few ways, while noise fills all dimensions: what is left
    out is noise for the most part. Curves are taken about their means, so that the few frames before contrast need not
    carry the baseline alone: its noise, multiplied by the number of frames, would be most of the noise of CBV.

    Args:
        curves: (T, N), smoothed.
        n_components: K; all T of them if there are fewer.
    """
    n_frames, n_voxels = curves.shape
    total, gram = (curves.new_zeros(size, dtype=torch.float64) for size in (n_frames, (n_frames, n_frames)))
    for part in curves.split(_VOXELS_AT_ONCE, dim=1):
        centred = part - part.mean(dim=0)
        total += centred.sum(dim=1)
        gram += centred @ centred.T
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
