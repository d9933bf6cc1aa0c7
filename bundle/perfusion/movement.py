"""Movements of the head that are put into a series."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from scripts.perfusion.masked_grid import Spacing

MOTION_MM, MOTION_DEG = 2.0, 2.0
ROLLED_FRAMES = 8
_MOVED_SHARES = (0.15, 0.3, 0.4, 0.5, 0.75)  # of the series, the places of the moved frames


def moved(series: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """Shift five frames by 2 mm in some direction and turn them by 2 degrees to some side, by cubic interpolation."""
    result = series.clone()
    for share in _MOVED_SHARES:
        direction, angle = rng.uniform(0, 2 * math.pi), math.radians(MOTION_DEG) * rng.choice([-1.0, 1.0])
        shift_mm = MOTION_MM * np.array([math.cos(direction), math.sin(direction)])
        frame = round(share * (len(series) - 1))
        result[frame] = torch.from_numpy(_displaced(series[frame].numpy(), shift_mm / spacing_mm[:2], angle))
    return result


def _displaced(frame: NDArray[np.float32], shift_px: NDArray[np.float64], angle: float) -> NDArray[np.float32]:
    turn = np.eye(3)
    turn[:2, :2] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    centre = (np.array(frame.shape) - 1) / 2
    offset = centre - turn @ (centre + [*shift_px, 0.0])
    return np.stack(
        [
            ndimage.affine_transform(frame[..., index], turn[:2, :2], offset[:2], order=3, mode="nearest")
            for index in range(frame.shape[2])
        ],
        axis=-1,
    )


def rolled(series: Tensor, rng: np.random.Generator) -> Tensor:
    """Put the slices of eight random frames one place further, as of a head that nodded, the last one first."""
    result = series.clone()
    frames = torch.from_numpy(rng.choice(len(series), ROLLED_FRAMES, replace=False))
    result[frames] = series[frames].roll(1, dims=3)
    return result
