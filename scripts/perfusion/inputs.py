"""What the command's options name: arterial input, masks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..io.case import GRID_TOLERANCE_MM, grid_shift_mm
from ..io.nifti import read_nifti
from ..io.paths import is_file
from .arterial_input import AifSource


class Grid(NamedTuple):
    """Voxels of the series, and where they lie."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def arterial_source(text: str, grid: Grid) -> AifSource:
    """The mask of a NIfTI file, the indices ``i,j,k`` of a voxel, or the curve of a text file."""
    if text.endswith((".nii", ".nii.gz")):
        return mask_on_grid(Path(text), "aif", grid)
    indices = text.split(",")
    if len(indices) == 3 and all(index.strip().isdigit() for index in indices):
        return int(indices[0]), int(indices[1]), int(indices[2])
    if not is_file(text):
        raise ValueError(f"--aif: expected a voxel i,j,k, a mask or a text file with a curve, got {text!r}")
    return torch.from_numpy(_numbers(text, "--aif")).float()


def _numbers(path: str, option: str) -> NDArray[np.float64]:
    """The numbers of a text file, separated by commas or white space."""
    try:
        words = Path(path).read_text(encoding="utf-8").replace(",", " ").split()
        return np.array([float(word) for word in words])
    except ValueError as error:  # not UTF-8 either
        raise ValueError(f"{option} '{path}': expected a text file of numbers, got {error}") from error


def mask_on_grid(path: Path, option: str, grid: Grid) -> torch.Tensor:
    """The voxels of a NIfTI file that are not zero, if it is on the grid of the series."""
    if not is_file(path):
        raise ValueError(f"--{option} '{path}': expected a NIfTI file with a mask, got no file")
    mask = read_nifti(path, case=path.name, key=option)
    if mask.array.shape != grid.shape:
        raise ValueError(f"--{option} '{path}': expected a mask {grid.shape} like the series, got {mask.array.shape}")
    shift_mm = grid_shift_mm(mask.affine, grid.affine, grid.shape)
    if shift_mm > GRID_TOLERANCE_MM:
        raise ValueError(
            f"--{option} '{path}': expected the affine of the series within {GRID_TOLERANCE_MM} mm, "
            f"got voxels up to {shift_mm:.3g} mm away"
        )
    return torch.from_numpy(mask.array) != 0
