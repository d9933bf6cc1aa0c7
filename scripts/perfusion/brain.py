"""The brain in an unenhanced CT frame, with or without the skull around it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .frames import mean_over_time, range_over_time
from .masked_grid import Spacing, smooth_within

_BASELINE_FRAMES = 4
_BACKGROUND_FRAMES = 8
_DENOISING_MM = 1.2
_SOFT_TISSUE_HU = (-5.0, 110.0)  # fluid to blood; fat and air lie below, bone above
_BONE_HU = 160.0
_VESSEL_LIMIT_HU = 110.0  # before contrast; what is denser is bone or calcified
_CONTRAST_LIMIT_HU = 650.0  # 600 HU above blood, see `LARGEST_VESSEL_HU`
_BONE_MARGIN_MM = 3.0  # that heads move by
_FLUID_LIMIT_HU = 17.0  # between cerebrospinal fluid (0-12 HU) and white matter (25-32 HU)
_SKULL_GAP_MM = 6.0  # foramina and sutures closed when the inside of the skull is looked for
_SKULL_MM = 2.0  # the thinnest; what is nearer to the outside is scalp
_SMALLEST_SKULL_MM2 = 2000.0  # of its inside
_SINUS_REACH_MM = 6.0  # the large sinuses lie between brain and bone
_BRIDGE_MM = 3.0  # meninges and foramina that tie the brain to what is outside
_SET_SHARE = 0.1  # of the voxels, from which on one value at all times is a background
_SMALLEST_SHARE = 0.1  # of the largest piece of brain, for a further piece to count


def brain_mask(series: Tensor, spacing_mm: Spacing) -> Tensor:
    """Find the brain, its fluid spaces and its vessels.

    Soft tissue of the first frames, before contrast brightens the sinuses, is cut loose from what thin bridges tie to
    it; with a skull, what lies outside is dropped first. The constant background of a skull-stripped image is not
    tissue, whatever its value.

    Args:
        series: (T, H, W, D) in HU.
        spacing_mm: voxel size along H, W and D.

    Returns:
        Boolean (H, W, D) tensor on the device of `series`; empty where no brain is in the image.

    Raises:
        ValueError: `series` is not four-dimensional or `spacing_mm` is not three positive numbers.
    """
    check_series(series, spacing_mm)
    first = mean_over_time(series[:_BASELINE_FRAMES])
    measured = _measured(series)
    smooth = smooth_within(first, measured, _DENOISING_MM, spacing_mm)
    soft = measured & (smooth > _SOFT_TISSUE_HU[0]) & (smooth < _SOFT_TISSUE_HU[1])
    soft &= _inside_skull(smooth > _BONE_HU, spacing_mm)
    loose = ~grow(~soft, _BRIDGE_MM, spacing_mm)
    core = _large_pieces(loose.cpu().numpy())
    brain = grow(torch.from_numpy(core).to(series.device), _BRIDGE_MM + 1.0, spacing_mm) & soft
    return torch.from_numpy(_fill_slices(brain.cpu().numpy())).to(series.device) & measured


def _measured(series: Tensor) -> Tensor:
    """Voxels (H, W, D) that a scanner measured, rather than software set.

    Set are those that are not finite, and those that hold one value at all times that is the most frequent one at the
    border, or that would pass for tissue in a part of the image which no noise would leave alike.
    """
    sample = series[:: max(1, len(series) // _BACKGROUND_FRAMES)]
    lowest, highest = range_over_time(sample)
    finite, constant = torch.isfinite(lowest + highest), lowest == highest
    border = torch.ones_like(constant)
    border[1:-1, 1:-1] = False
    like_tissue = constant & (sample[0] > _SOFT_TISSUE_HU[0]) & (sample[0] < _SOFT_TISSUE_HU[1])
    values, counts = torch.unique(sample[0][like_tissue], return_counts=True)
    background = [values[counts > _SET_SHARE * constant.numel()]]
    values, counts = torch.unique(sample[0][border & constant], return_counts=True)
    if len(values):
        background.append(values[counts.argmax()][None])
    return finite & ~(constant & torch.isin(sample[0], torch.cat(background)))


def fluid_mask(baseline_hu: Tensor, brain: Tensor) -> Tensor:
    """Cerebrospinal fluid and old infarcts: brain (H, W, D) below 17 HU in the smoothed unenhanced image."""
    return brain & (baseline_hu < _FLUID_LIMIT_HU)


def bone_mask(series: Tensor) -> Tensor:
    """Bone (H, W, D) of a series (T, H, W, D), also where it lies for a few frames only.

    That is what is dense before contrast, and what is at any time denser than contrast can be: bone that moved in.
    """
    return (mean_over_time(series[:_BASELINE_FRAMES]) > _VESSEL_LIMIT_HU) | (
        range_over_time(series)[1] > _CONTRAST_LIMIT_HU
    )


def away_from_bone(series: Tensor, spacing_mm: Spacing) -> Tensor:
    """Voxels (H, W, D) at least 3 mm from bone in all frames (T, H, W, D): nearer, movement looks like contrast."""
    return ~grow(bone_mask(series), _BONE_MARGIN_MM, spacing_mm)


def head_interior(series: Tensor, brain: Tensor, spacing_mm: Spacing) -> Tensor:
    """Voxels (H, W, D) within the skull that are not bone, up to the inner table, where the large sinuses lie.

    In a slice whose skull encloses too little, and where the skull was removed, what lies within 6 mm of the brain.

    Args:
        series: (T, H, W, D) in HU.
        brain: boolean (H, W, D).
        spacing_mm: voxel size along H, W and D.
    """
    unenhanced = mean_over_time(series[:_BASELINE_FRAMES])
    closed = grow(unenhanced > _BONE_HU, _SKULL_GAP_MM / 2, spacing_mm)
    filled = torch.from_numpy(_fill_slices(closed.cpu().numpy())).to(series.device)
    inside = ~grow(~filled, _SKULL_GAP_MM / 2 + _SKULL_MM, spacing_mm)
    has_skull = (inside & ~closed).sum(dim=(0, 1)) * spacing_mm[0] * spacing_mm[1] > _SMALLEST_SKULL_MM2
    near_brain = grow(brain, _SINUS_REACH_MM, spacing_mm)
    return torch.where(has_skull, inside | brain, near_brain) & (unenhanced < _VESSEL_LIMIT_HU)


def check_series(series: Tensor, spacing_mm: Spacing) -> None:
    """Raise ValueError unless `series` is (T, H, W, D) and `spacing_mm` three positive numbers."""
    if series.ndim != 4 or min(series.shape) < 1:
        raise ValueError(f"series must have shape (T, H, W, D), got {tuple(series.shape)}")
    if len(spacing_mm) != 3 or not all(np.isfinite(size) and size > 0 for size in spacing_mm):
        raise ValueError(f"spacing_mm must be three positive numbers, got {spacing_mm}")


def grow(mask: Tensor, radius_mm: float, spacing_mm: Spacing) -> Tensor:
    """Dilate (H, W, D) in the plane by a square that reaches the radius, along one axis after the other."""
    for axis, size_mm in enumerate(spacing_mm[:2]):
        mask = _any_within(mask.movedim(axis, -1), max(1, round(radius_mm / size_mm))).movedim(-1, axis)
    return mask


def _any_within(mask: Tensor, reach: int) -> Tensor:
    """Whether any value of a Boolean mask (..., N) is set up to `reach` places away; the window grows by doubling."""
    found = F.pad(mask, (reach, reach))
    width = 1
    while width <= 2 * reach:
        step = min(width, 2 * reach + 1 - width)
        found = found[..., :-step] | found[..., step:]
        width += step
    return found


def _inside_skull(bone: Tensor, spacing_mm: Spacing) -> Tensor:
    """What bone encloses in each slice, or everything where it encloses too little to be a skull."""
    closed = grow(bone, _SKULL_GAP_MM / 2, spacing_mm).cpu().numpy()
    inside = _fill_slices(closed) & ~closed
    inside = grow(torch.from_numpy(inside).to(bone.device), _SKULL_GAP_MM / 2, spacing_mm) & ~bone
    slice_has_skull = inside.sum(dim=(0, 1)) * spacing_mm[0] * spacing_mm[1] > _SMALLEST_SKULL_MM2
    return inside | ~slice_has_skull


def _fill_slices(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of every slice of (H, W, D)."""
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[:, :, 1] = ndimage.generate_binary_structure(2, 1)
    padded = np.pad(~mask, ((1, 1), (1, 1), (0, 0)), constant_values=True)
    labels, _ = ndimage.label(padded, structure=in_plane)
    outside = np.zeros(labels.max() + 1, dtype=bool)
    outside[np.unique(labels[0])] = True
    outside[0] = False
    return ~outside[labels[1:-1, 1:-1]]


def _large_pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest connected piece of (H, W, D) and the others of at least a tenth of its size."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    return (sizes >= _SMALLEST_SHARE * sizes.max())[labels]
