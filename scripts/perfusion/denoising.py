"""Removal of noise from curves by their principal components."""

from __future__ import annotations

import torch
from torch import Tensor

DEFAULT_COMPONENTS = 3
_VOXELS_AT_ONCE = 16384


def denoise(curves: Tensor, n_components: int = DEFAULT_COMPONENTS) -> Tensor:
    """Keep, in place, the mean and the first principal components of curves (T, N); returns the curves.

    Delay, dispersion and flow shape the curves of a brain in few ways, while noise fills all dimensions: what is left
    out is noise for the most part, and no voxel borrows from its neighbours. Every curve is taken about its own mean
    over time, so that attenuation is kept as it is and the few frames before contrast need not carry the baseline
    alone: its noise, multiplied by the number of frames, would be most of the noise of CBV.

    Args:
        curves: (T, N), before the baseline is subtracted.
        n_components: how many to keep; all of them if not fewer than T.
    """
    if n_components >= len(curves) or not curves.shape[1]:
        return curves
    level = curves.mean(dim=0)
    curves -= level
    common = curves.mean(dim=1, keepdim=True)
    curves -= common
    _, vectors = torch.linalg.eigh((curves @ curves.T).double())
    kept = vectors[:, -n_components:].to(curves.dtype)
    projection = kept @ kept.T
    for start in range(0, curves.shape[1], _VOXELS_AT_ONCE):
        part = slice(start, start + _VOXELS_AT_ONCE)
        curves[:, part] = projection @ curves[:, part]
    curves += common
    curves += level
    return curves
