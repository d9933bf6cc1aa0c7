"""Removal of noise from curves by their principal components."""

from __future__ import annotations

import torch
from torch import Tensor

DEFAULT_COMPONENTS = 5
_VOXELS_AT_ONCE = 16384


def denoise(curves: Tensor, n_components: int = DEFAULT_COMPONENTS) -> Tensor:
    """Keep, in place, the mean and the first principal components of curves (T, N); returns the curves.

    Delay, dispersion and flow shape the curves of a brain in few ways, while noise fills all dimensions: what is left
    out is noise for the most part, and no voxel borrows from its neighbours.

    Args:
        curves: (T, N) enhancement.
        n_components: how many to keep; all of them if not fewer than T.
    """
    if n_components >= len(curves) or not curves.shape[1]:
        return curves
    mean = curves.mean(dim=1, keepdim=True)
    curves -= mean
    _, vectors = torch.linalg.eigh((curves @ curves.T).double())
    kept = vectors[:, -n_components:].to(curves.dtype)
    projection = kept @ kept.T
    for start in range(0, curves.shape[1], _VOXELS_AT_ONCE):
        part = slice(start, start + _VOXELS_AT_ONCE)
        curves[:, part] = projection @ curves[:, part]
    curves += mean
    return curves
