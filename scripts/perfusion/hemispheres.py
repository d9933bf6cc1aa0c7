"""The plane between the hemispheres, found from the brain's own symmetry."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ANGLES_DEG = tuple(float(angle) for angle in sorted(range(-30, 31, 2), key=abs))
_CELL_MM = 6.0
_MOST_POINTS = 100_000  # fewer leave so few in a cell that chance turns the plane by ten degrees


def right_side(brain: Tensor, affine: Tensor) -> Tensor:
    """Boolean (H, W, D): the voxels on the patient's right of the plane that mirrors the brain onto itself best.

    Few thick slices tell little of the tilt out of their plane, so the plane turns within them, by up to 30 degrees.
    """
    index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in brain.shape), indexing="ij"), dim=-1).double()
    place_mm = index @ affine[:3, :3].double().cpu().T + affine[:3, 3].double().cpu()
    points = place_mm[brain.cpu()]
    if not len(points):
        return torch.zeros_like(brain)
    centre = points.mean(dim=0)
    thinned = points[:: max(1, len(points) // _MOST_POINTS)] - centre
    best = max(_ANGLES_DEG, key=lambda angle_deg: _symmetry(thinned, math.radians(angle_deg)))
    angle = math.radians(best)
    offset = (place_mm - centre) @ torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    return (offset > 0).to(brain.device)


def _symmetry(points: Tensor, angle: float) -> float:
    """Overlap, 0 to 1, of a cloud of points (N, 3) about its centre with its mirror image."""
    across = points @ torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=points.dtype)
    along = points @ torch.tensor([-math.sin(angle), math.cos(angle), 0.0], dtype=points.dtype)
    cells = torch.stack([across, along], dim=1) / _CELL_MM
    size = int(cells.abs().max().ceil()) + 2
    column, row = (cells + size).round().long().unbind(dim=1)
    counts = torch.zeros(2 * size + 1, 2 * size + 1).index_put_((column, row), torch.ones(len(column)), accumulate=True)
    mirrored = counts.flip(0)
    return float(torch.minimum(counts, mirrored).sum() / counts.sum())
