"""Smoothing that averages like with like, so that what flows little is not drowned by its neighbourhood."""

from __future__ import annotations

import torch
from torch import Tensor

from .quantiles import quantiles
from .smoothing import MaskedGrid, Spacing

_LEVELS = 8
_MOST = 0.98  # quantile of the amounts, above which all count as alike
_SMALLEST_WEIGHT = 1e-4
_SMALLEST_AMOUNT = 0.2


def smooth_alike(
    grid: MaskedGrid,
    values: Tensor,
    amount: Tensor,
    width: float,
    sigma_mm: float,
    spacing_mm: Spacing,
    source: Tensor,
) -> Tensor:
    """Smooth values (K, N) by a joint bilateral filter within the slices (Tomasi and Manduchi, ICCV 1998:839-846).

    A neighbour counts the less the farther away it is, the more its amount differs, and the larger its amount is. In a
    plain mean of curves what flows most has the most say: at the border of starved tissue it shows the time of the
    tissue that is not. The inverse of the amount would give all an equal say; it is squared, for what the scanner and
    the pixels have mixed before. Which power is a choice: on the phantom, the second finds as much delayed tissue as
    there is.

    The filter is linear for a given amount, so it is computed for a few amounts from zero on and interpolated between
    them (Durand and Dorsey, ACM Trans Graph 2002;21:257-266).

    Args:
        grid: where the N voxels lie.
        values: (K, N).
        amount: (N,), by which voxels are alike; below 0.2 it weighs as 0.2.
        width: standard deviation of the Gaussian over differences of the amount.
        sigma_mm: standard deviation of the Gaussian neighbourhood; 0 leaves the values as they are.
        spacing_mm: voxel size along H, W and D.
        source: boolean (H, W, D), the voxels whose values are used.
    """
    if sigma_mm <= 0 or not len(amount):
        return values
    levels = torch.linspace(0, 1, _LEVELS, device=amount.device) * quantiles(amount, [_MOST]).clamp_min(1e-6)
    place = (amount / levels[1]).clamp(0, _LEVELS - 1)
    say = amount.clamp_min(_SMALLEST_AMOUNT).pow_(-2)
    smooth = torch.zeros_like(values)
    for index, level in enumerate(levels):
        near = torch.exp(-0.5 * ((amount - level) / width) ** 2).mul_(say)
        terms = grid.smooth(torch.cat([values * near, near[None]]), sigma_mm, spacing_mm, source)
        share = (1 - (place - index).abs()).clamp_min_(0) / terms[-1].clamp_min(_SMALLEST_WEIGHT)
        smooth.addcmul_(terms[:-1], share)
    return smooth
