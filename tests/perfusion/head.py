"""A small synthetic head with known arteries and a region whose blood comes late."""

import numpy as np
import torch
from scipy import ndimage

from .curves import arterial_curve, tissue_curve

SPACING_MM = (2.0, 2.0, 8.0)
SHAPE = (80, 96, 2)
N_FRAMES = 45


def head(stripped: bool, noise_hu: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A series (T, H, W, D) with a delayed region on the side of small H, its brain, and its arterial voxels."""
    rng = np.random.default_rng(0)
    h, w = np.meshgrid(np.arange(SHAPE[0]) - 39.5, np.arange(SHAPE[1]) - 47.5, indexing="ij")
    radius = np.hypot(h / 30, w / 38)
    brain = np.repeat((radius < 1)[..., None], 2, axis=2)
    base = np.full(SHAPE, 0.0 if stripped else -1000.0)
    if not stripped:
        base[np.repeat((radius < 1.22)[..., None], 2, axis=2)] = 40
        base[np.repeat(((radius > 1.03) & (radius < 1.15))[..., None], 2, axis=2)] = 1000
        base[np.repeat(((radius >= 1) & (radius <= 1.03))[..., None], 2, axis=2)] = 8
    base[brain] = 34
    time_s = np.arange(N_FRAMES, dtype=float)
    normal = tissue_curve("exponential", 50.0, 4.0, 0.5, 1.0, N_FRAMES) * 1.04 / 0.733
    slow = tissue_curve("exponential", 12.0, 10.0, 8.0, 1.0, N_FRAMES) * 1.04 / 0.733
    series = np.repeat(base[None], N_FRAMES, axis=0)
    delayed = brain & (h < -12)[..., None]
    series += normal[:, None, None, None] * (brain & ~delayed) + slow[:, None, None, None] * delayed
    artery, vein = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    artery[44:46, 70:73], vein[39:42, 12:16] = True, True
    series[:, artery] = 45 + arterial_curve(time_s)[:, None]
    series[:, vein] = 45 + arterial_curve(time_s - 5)[:, None]
    noise = ndimage.gaussian_filter(rng.standard_normal(series.shape), (0, 0.6, 0.6, 0)) * noise_hu * 2
    series += noise * brain if stripped else noise
    return torch.from_numpy(series).float(), torch.from_numpy(brain), torch.from_numpy(artery)
