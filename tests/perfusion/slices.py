"""A stripped head of which every slice is sampled at times of its own, with curves that are known exactly."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from .curves import arterial_curve, tissue_curve

SPACING_MM = (2.5, 2.5, 8.0)
SIZE = (64, 76)
NORMAL_S, LATE_S = 3.0, 9.0
"""Delays of the two halves: early enough, and late enough, to be shifted by a slab's offset either way."""
NORMAL, LATE = (slice(38, 50), slice(26, 50)), (slice(14, 26), slice(26, 50))
"""Their interiors, away from each other, the vessels and the border."""
ARTERY, VEIN = (slice(34, 38), slice(54, 58)), (slice(31, 34), slice(10, 13))
_STEP_S = 0.05


def jog(interval_s: float = 3.0, n_frames: int = 21, n_slices: int = 4) -> NDArray:
    """Times (D, T) of two slabs in turn: the upper one half an interval after the lower one."""
    offsets_s = np.where(np.arange(n_slices) < n_slices // 2, 0.0, interval_s / 2)
    return interval_s * np.arange(n_frames) + offsets_s[:, None]


def shuttle(sweep_s: float = 1.5, n_frames: int = 40, n_slices: int = 4) -> NDArray:
    """Times (D, T) of a table that goes up and down: intervals of the slices at the ends alternate."""
    place = (np.arange(n_slices) + 0.5) / n_slices * sweep_s
    frame = np.arange(n_frames)
    return sweep_s * frame + np.where(frame % 2 == 0, place[:, None], sweep_s - place[:, None])


def sampled_head(times_s: NDArray, arteries: tuple[int, ...] = (0, 1), noise_hu: float = 0.3) -> torch.Tensor:
    """A series (T, H, W, D) in HU at times (D, T), with an artery in some slices and a vein in all."""
    n_slices, n_frames = times_s.shape
    h, w = np.meshgrid(np.arange(SIZE[0]) - 31.5, np.arange(SIZE[1]) - 37.5, indexing="ij")
    brain = np.hypot(h / 24, w / 30) < 1
    late = brain & (h < 0)
    fine_s = np.arange(round((times_s.max() + 1) / _STEP_S)) * _STEP_S
    curves = {
        delay_s: tissue_curve("exponential", cbf, mtt_s, delay_s, _STEP_S, len(fine_s)) * 1.04 / 0.733
        for cbf, mtt_s, delay_s in ((50.0, 4.0, NORMAL_S), (20.0, 9.0, LATE_S))
    }
    rng = np.random.default_rng(0)
    texture = 80 * ndimage.gaussian_filter(
        rng.standard_normal((*SIZE, n_slices)), (3, 3, 0)
    )  # slices of a brain differ
    noise = rng.standard_normal((n_frames, *SIZE, n_slices)) * noise_hu
    series = np.where(brain[..., None], 34.0 + texture + noise, 0.0)
    for index, own_s in enumerate(times_s):
        at = {delay_s: np.interp(own_s, fine_s, curve)[:, None, None] for delay_s, curve in curves.items()}
        series[..., index] += at[NORMAL_S] * (brain & ~late) + at[LATE_S] * late
        if index in arteries:
            series[:, *ARTERY, index] = 45 + arterial_curve(own_s)[:, None, None]
        series[:, *VEIN, index] = 45 + 0.8 * arterial_curve(own_s - 5)[:, None, None]  # the highest are arteries
    return torch.from_numpy(series).float()
