"""Removal of what small movements of the head leave in the curves."""

from __future__ import annotations

import torch
from torch import Tensor

from .masked_grid import MaskedGrid, Spacing

_SMALLEST_GRADIENT_HU_MM = 0.3  # an image without edges tells nothing of motion: contrast would be taken for it
_TURN_RADIUS_MM = 50.0  # by which a rotation is compared with a shift


def remove_residual_motion(curves: Tensor, grid: MaskedGrid, n_baseline: int, spacing_mm: Spacing) -> Tensor:
    """Subtract, in place, what shifts and rotations in the plane change in curves (T, N); returns the motion.

    A head that moves by a third of a millimetre changes the attenuation at the border of white matter and fluid by as
    much as contrast does. To first order the change is the image's gradient times the displacement, so the three
    parameters of each frame follow from one least-squares fit over the brain: no frame is interpolated. The fit has
    the level and the image itself as further terms, which take up the contrast. It holds for movements smaller than
    the smoothing; larger ones are for `correct_motion`, and the quality control warns of them.

    Args:
        curves: (T, N) smoothed attenuation in HU.
        grid: where the N voxels lie.
        n_baseline: frames that make the reference.
        spacing_mm: voxel size along H, W and D.

    Returns:
        (T, 3) displacement along H and W in mm and rotation in the plane in radians, against the reference.
    """
    reference = curves[:n_baseline].mean(dim=0)
    terms = _terms(reference, grid, spacing_mm)
    change = curves - reference
    gram = (terms @ terms.T).double()
    scale = gram.diagonal().clamp_min(1e-12).sqrt()
    softness = curves.shape[1] * _SMALLEST_GRADIENT_HU_MM**2
    prior = gram.new_tensor([softness, softness, softness * _TURN_RADIUS_MM**2, 0.0, 0.0])
    normal = (gram + torch.diag(prior)) / scale[:, None] / scale[None, :]
    normal += 1e-6 * torch.eye(len(gram), device=gram.device)
    fitted = torch.linalg.solve(normal, (terms @ change.T).double() / scale[:, None]) / scale[:, None]
    motion = fitted[:3].T.to(curves.dtype)
    curves.addmm_(motion, terms[:3], alpha=-1)
    return -motion


def _terms(reference: Tensor, grid: MaskedGrid, spacing_mm: Spacing) -> Tensor:
    """Rows (5, N): change by a shift of 1 mm along H and along W, by a rotation of 1 rad, by a level, by contrast."""
    image = grid.volume(reference)
    along_h, along_w = (_inner_gradient(image, grid.mask, axis) / spacing_mm[axis] for axis in (0, 1))
    place_h, place_w = (
        (torch.arange(size, device=image.device) - (size - 1) / 2) * pixel_mm
        for size, pixel_mm in zip(image.shape[:2], spacing_mm, strict=False)
    )
    turn = along_w * place_h[:, None, None] - along_h * place_w[None, :, None]
    maps = torch.stack([along_h, along_w, turn, torch.ones_like(image), image])
    return grid.curves(maps)


def _inner_gradient(image: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Central difference along an axis, 0 where a neighbor lies outside the mask."""
    ahead, behind = image.roll(-1, axis), image.roll(1, axis)
    inner = mask & mask.roll(-1, axis) & mask.roll(1, axis)
    return torch.where(inner, (ahead - behind) / 2, 0.0)
