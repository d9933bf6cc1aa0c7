"""Frames that the head's movement spoils, also along the axis of the slices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .masked_grid import Spacing
from .motion import (
    RobustFit,
    coarse_poses,
    displacement_mm,
    moved_frames,
    movements,
    reduced_frames,
    thick_slices,
    usual_frame,
)

MIN_FRAMES = 10
"""Fewest frames that tell a passage: 25 s at 2.5 s a frame, with two before contrast and two after (a choice)."""

LARGEST_IN_PLANE_MM = 4.0
"""Registration on coarse pixels errs by up to 2 mm; movements up to the smoothing's 2 mm leave the curves by a fit."""

LARGEST_SHARE_OF_SLICE = 0.3
"""Neighboring slices of a brain differ by about 10 HU; 0.3 of that is what white matter enhances by at its peak."""

_PIXEL_MM = 4.0  # of the comparison, along all three axes
_WEIGHTINGS = 4
_ALIKE_HU2 = 1.0  # of slices that are alike, which differ by noise alone; those of brains differ by 4 to 40 HU


class FrameMotion(NamedTuple):
    """How far the head moved in each frame from where it lies most of the time; tensors (T,)."""

    in_plane_mm: Tensor
    """Largest displacement in the head by a shift and a rotation, to 1 to 2 mm; 0 for a frame without an image."""
    through_plane_mm: Tensor
    """Shift along D, positive towards higher slices, to about a tenth of a slice; NaN for a single slice."""
    lost: Tensor
    """Boolean: frames that moved too far, or that lack a slice."""


def frame_motion(series: Tensor, spacing_mm: Spacing, largest_in_plane_mm: float = LARGEST_IN_PLANE_MM) -> FrameMotion:
    """Find the frames that moved, in the plane and through it, and those that hold no image.

    All frames are reduced to about 4 mm and aligned in the plane by `coarse_poses`. A frame whose head moved through
    the plane shows in each slice, to first order, a mixture of what the slice and its neighbor usually show. Each
    frame is fitted by its usual slices, their small displacements in the plane, a level and contrast in tissue, and by
    the way towards the next slice on either side; the farther way is the movement. It is found up to one slice; what
    moved farther reads as about one. Of two slices that change places the sign is not known.

    A frame is lost if it moved by more than 0.3 of a slice (of at least 4 mm) through the plane or by more than
    `largest_in_plane_mm` within it, or if one of its slices has one value throughout, which usually has not.

    Args:
        series: (T, H, W, D) in HU.
        spacing_mm: voxel size along H, W and D.
        largest_in_plane_mm: limit in the plane; infinity for a series that is corrected.
    """
    extent_mm = (series.shape[1] * spacing_mm[0], series.shape[2] * spacing_mm[1])
    frames = reduced_frames(series, extent_mm, _PIXEL_MM)
    empty = _empty_frames(frames)
    frames, slice_mm = thick_slices(frames, spacing_mm[2])
    poses = coarse_poses(frames, extent_mm)
    in_plane_mm = torch.where(empty, 0.0, displacement_mm(movements(poses)).float())
    slices = _slices_moved(moved_frames(frames, poses, extent_mm), extent_mm)
    through_plane_mm = torch.where(empty, 0.0, slices * slice_mm)
    lost = empty | (in_plane_mm > largest_in_plane_mm) | (slices.abs() > LARGEST_SHARE_OF_SLICE)
    return FrameMotion(in_plane_mm, through_plane_mm, lost)


def kept_frames(lost: Tensor) -> Tensor:
    """Indices (K,) of the frames that are not lost (T,).

    Raises:
        ValueError: fewer than 10 frames are left.
    """
    kept = torch.nonzero(~lost).squeeze(1)
    if len(kept) < MIN_FRAMES:
        raise ValueError(
            f"series must have at least {MIN_FRAMES} frames in which the head lies where it usually does, "
            f"got {len(kept)} of {len(lost)}"
        )
    return kept


def longest_gap_s(lost: Tensor, times_s: Tensor, start_s: float, end_s: float) -> float:
    """Longest time without a frame between two times, in s, once the lost frames (T,) are left out.

    Args:
        lost: boolean (T,).
        times_s: (T,), the time of each frame.
        start_s: from this time on, such as the arrival of contrast.
        end_s: to this time, such as the end of the passage.
    """
    kept_s = times_s[~lost.to(times_s.device)]
    inside = kept_s[(kept_s > start_s) & (kept_s < end_s)]
    before, after = kept_s[kept_s <= start_s][-1:], kept_s[kept_s >= end_s][:1]
    ends = kept_s.new_tensor([start_s, end_s])
    around = torch.cat([before if len(before) else ends[:1], inside, after if len(after) else ends[1:]])
    return float(around.diff().max())


def _empty_frames(frames: Tensor) -> Tensor:
    """Boolean (T,): frames (T, D, h, w) with a slice of one value throughout, where most frames show something."""
    flat = frames.flatten(2)
    constant = flat.amax(dim=2) == flat.amin(dim=2)
    usually = constant.float().mean(dim=0) > 0.5
    return (constant & ~usually).any(dim=1) | constant.all(dim=1)


def _slices_moved(frames: Tensor, extent_mm: tuple[float, float]) -> Tensor:
    """Slices (T,) by which aligned frames (T, D, h, w) moved through the plane."""
    if frames.shape[1] < 2:
        return frames.new_full((len(frames),), torch.nan)
    usual = usual_frame(frames)
    up, down = (
        RobustFit(own, extent_mm, other).coefficients(images, _WEIGHTINGS)[:, -1].float().clamp_min(0)
        for own, other, images in ((usual[1:], usual[:-1], frames[:, 1:]), (usual[:-1], usual[1:], frames[:, :-1]))
    )
    difference_hu2 = (usual[1:] - usual[:-1]).square().mean()
    return torch.where(up > down, up, -down) * difference_hu2 / (difference_hu2 + _ALIKE_HU2)
