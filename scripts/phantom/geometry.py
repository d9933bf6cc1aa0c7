"""The voxel grid of a scan and its position in world coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Sign of world R, A, S along the array axes i, j, k for the axis codes nibabel would print.
ORIENTATION_SIGNS = {"RAS": (1, 1, 1), "LPS": (-1, -1, 1), "LAS": (-1, 1, 1), "RPS": (1, -1, 1)}


def rotation_matrix(angles_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    """Rotation by ``angles_deg`` about the x (pitch), then y (roll), then z (yaw) axis, shape (3, 3)."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(np.deg2rad(angles_deg)), np.cos(np.deg2rad(angles_deg))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@dataclass(frozen=True)
class Grid:
    """A stack of axial slices.

    Attributes:
        shape: (H, W, D) voxels along the array axes.
        affine: (4, 4) voxel index to world mm, NIfTI RAS+.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @classmethod
    def axial(
        cls,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        center_mm: tuple[float, float, float],
        orientation: str = "RAS",
        tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Grid:
        """Build the grid with its center at ``center_mm`` and its axes along ``orientation``.

        Args:
            shape: (H, W, D).
            spacing_mm: voxel size along the array axes.
            center_mm: world position of the center of the array.
            orientation: one of `ORIENTATION_SIGNS`.
            tilt_deg: rotation of the whole stack about x, y, z; if not zero, the affine is oblique.

        Raises:
            ValueError: if ``orientation`` is not known.
        """
        if orientation not in ORIENTATION_SIGNS:
            raise ValueError(f"orientation must be one of {sorted(ORIENTATION_SIGNS)}, got {orientation!r}")
        affine = np.eye(4)
        signs = np.array(ORIENTATION_SIGNS[orientation], dtype=float)
        affine[:3, :3] = rotation_matrix(tilt_deg) @ np.diag(signs * np.array(spacing_mm))
        affine[:3, 3] = np.array(center_mm) - affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
        return cls(shape, affine)

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Voxel size along the array axes, (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def world_mm(self, stride: int = 1, subplanes: int = 1) -> NDArray[np.float64]:
        """World positions of the voxel centers.

        Args:
            stride: every ``stride``-th voxel in the plane, from the first to beyond the last.
            subplanes: number of evenly spaced planes within each slice's thickness.

        Returns:
            (ceil((H - 1) / stride) + 1, ceil((W - 1) / stride) + 1, D * subplanes, 3) in mm.
        """
        height, width, depth = self.shape
        offsets = (np.arange(subplanes) + 0.5) / subplanes - 0.5
        i = np.arange(0, height - 1 + stride, stride, dtype=float)
        j = np.arange(0, width - 1 + stride, stride, dtype=float)
        k = (np.arange(depth, dtype=float)[:, None] + offsets).ravel()
        matrix, origin = self.affine[:3, :3], self.affine[:3, 3]
        return (
            i[:, None, None, None] * matrix[:, 0]
            + j[None, :, None, None] * matrix[:, 1]
            + k[None, None, :, None] * matrix[:, 2]
            + origin
        )
