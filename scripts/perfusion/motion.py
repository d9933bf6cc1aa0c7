"""Correction of the head's movement between frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .masked_grid import Spacing

_WINDOW_HU = (-50.0, 120.0)  # so that neither bone nor contrast in vessels outweighs the rest
_TOLERANCE_HU = 15.0  # changes beyond it are contrast or noise, and count less
_STAGES = ((12.0, 8.0, 8), (6.0, 4.0, 8), (3.0, 2.0, 6), (1.5, 2.0, 6))  # smoothing (SD) and pixels in mm, and steps
_LAST_STAGES = _STAGES[2:]  # of the second round, whose reference is made of frames that are aligned already
_COARSE_STAGES = ((12.0, 8.0, 6), (6.0, 6.0, 6))  # enough to tell 2 mm from none
_STILL_MM = 0.02  # a frame that a step moves by less has arrived
_SMALLEST_MM = 0.3  # smaller movements are left alone, as resampling would blur more than it mends
_TURN_RADIUS_MM = 70.0  # of the head, where a rotation moves most
_SLICE_MM = 4.0  # thinner slices are averaged: all of a frame move together
_FRAMES_AT_ONCE = 4


def correct_motion(series: Tensor, spacing_mm: Spacing) -> tuple[Tensor, Tensor]:
    """Align the frames of a series by shifts and rotations in the plane, the same for all slices of a frame.

    Slices of CT perfusion are few and thick, so the other three parameters of a rigid movement cannot be found from
    them. Each frame is compared with the median of all frames, which few moved ones do not change. The difference is,
    to first order, the reference's gradient times the displacement, so that each step is a least-squares fit (inverse
    compositional registration; Baker and Matthews, Int J Comput Vis 2004;56:221). It has a level and the image
    itself as further terms, which take up the contrast in tissue; vessels are changes beyond 15 HU, which count less.
    ITK's registration of one slice of one frame finds the same to a few tenths of a millimetre, but frame by frame, so
    that a series takes it minutes, and on a CPU alone.

    Args:
        series: (T, H, W, D) in HU.
        spacing_mm: voxel size along H, W and D.

    Returns:
        The series, frames that moved by more than 0.3 mm resampled by cubics (the same tensor if there is none); and
        (T, 3), the shift along H and W in mm and the rotation from H to W about the image's centre in radians, by
        which each of these had moved from where the head lies most of the time; zero for the others.
    """
    extent_mm = (series.shape[1] * spacing_mm[0], series.shape[2] * spacing_mm[1])
    frames = reduced_frames(series, extent_mm, min(pixel_mm for _, pixel_mm, _ in _STAGES))
    frames, _ = thick_slices(frames, spacing_mm[2])
    motion = movements(_registered(frames, extent_mm, _STAGES, _LAST_STAGES))
    displaced = torch.nonzero(displacement_mm(motion) > _SMALLEST_MM).squeeze(1)
    if not len(displaced):
        return series, torch.zeros_like(motion, dtype=torch.float32)
    corrected = series.clone() if series.is_floating_point() else series.float()
    for some in displaced.split(_FRAMES_AT_ONCE):
        slices = series[some].float().nan_to_num().permute(0, 3, 1, 2)
        corrected[some] = (
            moved_frames(slices, _pose(motion[some]), extent_mm, "bicubic").permute(0, 2, 3, 1).to(corrected.dtype)
        )
    still = displacement_mm(motion) <= _SMALLEST_MM
    return corrected, torch.where(still[:, None], 0.0, motion).float()


def coarse_poses(frames: Tensor, extent_mm: tuple[float, float]) -> Tensor:
    """Poses (T, 3, 3) of frames (T, D, h, w), quickly, against where the head lies most of the time."""
    return _registered(frames, extent_mm, _COARSE_STAGES)


def _registered(frames: Tensor, extent_mm: tuple[float, float], *rounds: Sequence[tuple[float, float, int]]) -> Tensor:
    """Poses (T, 3, 3), float64, of frames (T, D, h, w) against where the head lies most of the time.

    Each round goes through its stages with a reference of frames as the round before aligned them.
    """
    poses = torch.eye(3, dtype=torch.float64, device=frames.device).repeat(len(frames), 1, 1)
    for stages in rounds:
        reference = usual_frame(moved_frames(frames, poses, extent_mm))
        for sigma_mm, pixel_mm, n_steps in stages:
            along_h, along_w = _resampling(frames, extent_mm, pixel_mm, sigma_mm)
            fit = RobustFit(along_h @ reference @ along_w, extent_mm)
            for start in range(0, len(frames), _FRAMES_AT_ONCE):
                part = slice(start, start + _FRAMES_AT_ONCE)
                poses[part] = _fitted(fit, along_h @ frames[part] @ along_w, poses[part], extent_mm, n_steps)
    usual = _pose(movements(poses).median(dim=0, keepdim=True).values)
    return poses @ torch.linalg.inv(usual)  # so that the frames at rest stay as they are


def _fitted(fit: RobustFit, images: Tensor, poses: Tensor, extent_mm: tuple[float, float], n_steps: int) -> Tensor:
    """Poses (T, 3, 3) of images (T, D, h, w) after some steps from these; a frame that has arrived takes no more."""
    poses, moving = poses.clone(), torch.arange(len(poses), device=poses.device)
    for _ in range(n_steps):
        step = fit.coefficients(moved_frames(images[moving], poses[moving], extent_mm))[:, :3]
        poses[moving] = poses[moving] @ torch.linalg.inv(_pose(step))
        moving = moving[displacement_mm(step) > _STILL_MM]
        if not len(moving):
            break
    return poses


def usual_frame(frames: Tensor) -> Tensor:
    """Median (D, h, w) over time of frames (T, D, h, w), one slice after the other."""
    return torch.stack([frames[:, index].median(dim=0).values for index in range(frames.shape[1])])


def displacement_mm(motion: Tensor) -> Tensor:
    """Largest displacement (T,) in the head of movements (T, 3): shifts in mm and rotation in radians."""
    return motion[:, :2].norm(dim=1) + _TURN_RADIUS_MM * motion[:, 2].abs()


class RobustFit:
    """Least-squares fit of images by a reference (D, H, W) that is displaced a little.

    The terms are shifts along H and W in mm, a rotation in radians, a level, the reference itself, and, where another
    image is given, the way from the reference to it, from 0 to 1.
    """

    def __init__(self, reference: Tensor, extent_mm: tuple[float, float], other: Tensor | None = None) -> None:
        steps_mm = [size_mm / count for size_mm, count in zip(extent_mm, reference.shape[1:], strict=True)]
        along_h, along_w = torch.gradient(reference, spacing=steps_mm, dim=(1, 2))
        place_h, place_w = (
            (torch.arange(count, device=reference.device) - (count - 1) / 2) * step_mm
            for count, step_mm in zip(reference.shape[1:], steps_mm, strict=True)
        )
        turn = along_w * place_h[:, None] - along_h * place_w
        maps = [along_h, along_w, turn, torch.ones_like(reference), reference]
        terms = torch.stack(maps if other is None else [*maps, other - reference])
        self._reference = reference.reshape(-1)
        self._terms = terms.reshape(len(terms), -1)
        self._scale = self._terms.square().mean(dim=1).sqrt().clamp_min(1e-6)
        self._terms /= self._scale[:, None]
        self._pairs = torch.triu_indices(len(terms), len(terms), device=reference.device)
        self._products = self._terms[self._pairs[0]] * self._terms[self._pairs[1]]

    def coefficients(self, images: Tensor, n_weightings: int = 1) -> Tensor:
        """Coefficients (T, 5 or 6) of the terms that turn the reference into the images (T, D, H, W)."""
        change = images.reshape(len(images), -1) - self._reference
        n_terms = len(self._terms)
        fitted = change.new_zeros((len(change), n_terms), dtype=torch.float64)
        for step in range(n_weightings):
            rest = change - fitted.float() @ self._terms if step else change
            weight = 1 / (1 + (rest / _TOLERANCE_HU).square())
            gram = fitted.new_zeros((len(change), n_terms, n_terms))
            gram[:, self._pairs[0], self._pairs[1]] = gram[:, self._pairs[1], self._pairs[0]] = (
                weight @ self._products.T
            ).double()
            gram += 1e-6 * weight.shape[1] * torch.eye(n_terms, dtype=gram.dtype, device=gram.device)
            fitted = torch.linalg.solve(gram, ((weight * change) @ self._terms.T).double())
        return fitted / self._scale


def reduced_frames(series: Tensor, extent_mm: tuple[float, float], pixel_mm: float) -> Tensor:
    """The series within a window of HU on pixels of at least this size, (T, D, h, w)."""
    along_h, along_w = _resampling(series.permute(0, 3, 1, 2), extent_mm, pixel_mm)
    return torch.cat(
        [
            along_h @ frame.float().nan_to_num().clamp(*_WINDOW_HU).permute(0, 3, 1, 2) @ along_w
            for frame in series.split(1)
        ]
    )


def thick_slices(frames: Tensor, slice_mm: float) -> tuple[Tensor, float]:
    """Frames (T, D, h, w) with thin slices averaged to about 4 mm, and the distance of these."""
    depth = frames.shape[1]
    n_slices = max(1, depth // max(1, round(_SLICE_MM / slice_mm)))
    if n_slices == depth:
        return frames, slice_mm
    averaged = F.adaptive_avg_pool3d(frames[:, None], (n_slices, *frames.shape[2:]))[:, 0]
    return averaged, slice_mm * depth / n_slices


def _resampling(
    frames: Tensor, extent_mm: tuple[float, float], pixel_mm: float, sigma_mm: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Matrices that bring the rows and the columns of frames (T, D, H, W) to pixels of a size, after a Gaussian."""
    matrices = []
    for count, size_mm in zip(frames.shape[2:], extent_mm, strict=True):
        matrix = _means(count, size_mm, pixel_mm, frames.device)
        if sigma_mm > 0:
            matrix = _gaussian(len(matrix), sigma_mm * len(matrix) / size_mm, frames.device) @ matrix
        matrices.append(matrix)
    return matrices[0], matrices[1].T


def _means(count: int, size_mm: float, pixel_mm: float, device: torch.device) -> Tensor:
    """Matrix (n, count) that averages a line over pixels of at least this size, as `F.interpolate` by area does."""
    n_pixels = min(count, max(1, round(size_mm / pixel_mm)))
    return F.adaptive_avg_pool1d(torch.eye(count, device=device)[None], n_pixels)[0].T


def _gaussian(size: int, sigma: float, device: torch.device) -> Tensor:
    """Matrix (n, n) that smooths a line of n pixels, whose ends go on beyond it."""
    reach = min(max(1, round(3 * sigma)), size - 1)
    offset = torch.arange(-reach, reach + 1, device=device)
    taps = torch.exp(-0.5 * (offset / sigma).square())
    place = (torch.arange(size, device=device)[:, None] + offset).clamp(0, size - 1)
    return torch.zeros((size, size), device=device).scatter_add_(1, place, (taps / taps.sum()).expand(size, -1))


def moved_frames(images: Tensor, poses: Tensor, extent_mm: tuple[float, float], mode: str = "bilinear") -> Tensor:
    """Images (T, D, H, W) read at the places that poses (T, 3, 3) give to each pixel."""
    height_mm, width_mm = extent_mm
    ratio = width_mm / height_mm
    # The order of coordinates is (w, h) here, from -1 to 1 along each axis.
    rows = [
        torch.stack([poses[:, 1, 1], poses[:, 1, 0] / ratio, 2 * poses[:, 1, 2] / width_mm], dim=1),
        torch.stack([poses[:, 0, 1] * ratio, poses[:, 0, 0], 2 * poses[:, 0, 2] / height_mm], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1).to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def _pose(motion: Tensor) -> Tensor:
    """Matrices (T, 3, 3) of movements (T, 3) on coordinates (h, w, 1) in mm from the image's centre."""
    pose = torch.eye(3, dtype=motion.dtype, device=motion.device).repeat(len(motion), 1, 1)
    pose[:, 0, 0] = pose[:, 1, 1] = motion[:, 2].cos()
    pose[:, 1, 0], pose[:, 0, 1] = motion[:, 2].sin(), -motion[:, 2].sin()
    pose[:, :2, 2] = motion[:, :2]
    return pose


def movements(poses: Tensor) -> Tensor:
    """Movements (T, 3) of poses (T, 3, 3): shifts in mm and rotation in radians."""
    return torch.cat([poses[:, :2, 2], torch.atan2(poses[:, 1, 0], poses[:, 0, 0])[:, None]], dim=1)
