"""Curves of the voxels in a mask, smoothed in space without taking anything from outside the mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import copy

import torch
from torch import Tensor

Spacing = tuple[float, float, float]

_REACH = 3.0  # standard deviations of the Gaussian kernel
_FRAMES_AT_ONCE = 8
_BLOCK = 48  # lines of a plane that are smoothed at once
_SMALLEST_WEIGHT = 0.05  # of the kernel, whose middle weighs 1


class MaskedGrid:
    """The voxels of a mask, numbered along H first, then W, then D: the order of a NIfTI file, so gathering is fast.

    Args:
        mask: boolean (H, W, D).

    Attributes:
        mask: the same.
        count: number of voxels N.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        rows, columns, slices = (torch.nonzero(mask.any(dim=axes)).squeeze(-1) for axes in ((2, 1), (2, 0), (1, 0)))
        first = [int(line[0]) if len(line) else 0 for line in (rows, columns, slices)]
        last = [int(line[-1]) + 1 if len(line) else 0 for line in (rows, columns, slices)]
        self._box: tuple[slice, ...] = tuple(slice(low, high) for low, high in zip(first, last, strict=True))
        self._inside = _file_order(mask[self._box]).contiguous()
        self._index = torch.nonzero(self._inside.reshape(-1)).squeeze(1)
        self.count = len(self._index)

    def to(self, device: torch.device | str) -> MaskedGrid:
        """The same grid on another device; what depends on the values of the mask stays as it was found."""
        moved = copy(self)
        moved.mask, moved._inside, moved._index = (part.to(device) for part in (self.mask, self._inside, self._index))
        return moved

    def curves(
        self, frames: Tensor, sigma_mm: float = 0.0, spacing_mm: Spacing = (1.0, 1.0, 1.0), source: Tensor | None = None
    ) -> Tensor:
        """Values (T, N) of frames (T, H, W, D), each slice smoothed by a Gaussian normalized within the mask.

        Along a row and along a column the Gaussian is a banded matrix, so two matrix products smooth all slices at
        once. Slices are too thick to be smoothed across.

        Args:
            frames: (T, H, W, D) of any real type.
            sigma_mm: standard deviation of the Gaussian; 0 for none.
            spacing_mm: voxel size along H, W and D.
            source: boolean (H, W, D), the voxels whose values are used; the whole mask if None. A voxel with none of
                them in reach becomes zero.

        Returns:
            float32 (T, N).
        """
        boxed = frames[(slice(None), *self._box)]
        if sigma_mm <= 0:
            lines, along_h = self._index // self._inside.shape[2], self._index % self._inside.shape[2]
            along_d, along_w = lines // self._inside.shape[1], lines % self._inside.shape[1]
            return boxed[:, along_h, along_w, along_d].float()
        used = self._used(source)
        nothing = torch.zeros((), device=frames.device)

        def planes(part: slice) -> Tensor:
            return torch.where(used, _file_order(boxed[part]).float(), nothing)

        return self._smoothed(planes, len(frames), sigma_mm, spacing_mm, used)

    def smooth(
        self, values: Tensor, sigma_mm: float, spacing_mm: Spacing = (1.0, 1.0, 1.0), source: Tensor | None = None
    ) -> Tensor:
        """Smooth values (K, N) that are on the grid already; see `curves`."""
        if sigma_mm <= 0:
            return values
        used = self._used(source)
        counted = used.reshape(-1)[self._index]
        nothing = values.new_zeros(())

        def planes(part: slice) -> Tensor:  # what is not used is left out of the few voxels rather than of the planes
            return self._boxed(torch.where(counted, values[part], nothing))

        return self._smoothed(planes, len(values), sigma_mm, spacing_mm, used)

    def _used(self, source: Tensor | None) -> Tensor:
        """The voxels of a source (H, W, D) within the mask, in its bounding box and in the order of a file."""
        return self._inside if source is None else _file_order(source[self._box] & self.mask[self._box])

    def _smoothed(
        self, planes: Callable[[slice], Tensor], count: int, sigma_mm: float, spacing_mm: Spacing, used: Tensor
    ) -> Tensor:
        """Smoothed values (count, N) of frames, zero where not used, of which `planes` gives a few at a time."""
        device = self._index.device
        values = torch.empty((count, self.count), device=device)
        if not self.count:
            return values
        _, width, height = self._inside.shape
        along_h, along_w = (
            _Band(size, sigma_mm / pixel_mm, device)
            for size, pixel_mm in zip((height, width), spacing_mm, strict=False)
        )
        weight = _blurred(used.float(), along_w, along_h).reshape(-1)[self._index]
        for start in range(0, count, _FRAMES_AT_ONCE):
            part = slice(start, start + _FRAMES_AT_ONCE)
            smooth = _blurred(planes(part), along_w, along_h)
            torch.index_select(smooth.reshape(len(smooth), -1), 1, self._index, out=values[part])
        return values.mul_(torch.where(weight > _SMALLEST_WEIGHT, 1 / weight, 0.0))

    def volume(self, values: Tensor) -> Tensor:
        """Put values (..., N) on the grid (..., H, W, D), zero outside the mask."""
        grid = values.new_zeros((*values.shape[:-1], *self.mask.shape))
        rows, columns, slices = self._box
        grid[..., rows, columns, slices] = _file_order(self._boxed(values))
        return grid

    def _boxed(self, values: Tensor) -> Tensor:
        """Values (..., N) in the bounding box of the mask, (..., D, W, H) as in a file, zero outside the mask."""
        boxed = values.new_zeros((*values.shape[:-1], self._inside.numel()))
        boxed[..., self._index] = values
        return boxed.reshape(*values.shape[:-1], *self._inside.shape)


def smooth_within(volume: Tensor, mask: Tensor, sigma_mm: float, spacing_mm: Spacing) -> Tensor:
    """Smooth a volume (H, W, D) within a mask, slice by slice; float32, zero outside. See `MaskedGrid.curves`."""
    grid = MaskedGrid(mask)
    return grid.volume(grid.curves(volume[None], sigma_mm, spacing_mm)[0])


def _file_order(volume: Tensor) -> Tensor:
    """Swap the first and the last of three spatial axes: (..., H, W, D) to (..., D, W, H) and back."""
    return volume.transpose(-1, -3)


class _Band:
    """Symmetric (size, size) matrix that convolves a line with a Gaussian; not normalized at the ends."""

    def __init__(self, size: int, sigma: float, device: torch.device) -> None:
        place = torch.arange(size, device=device, dtype=torch.float32)
        steps = (place[:, None] - place[None, :]).abs() / sigma
        self.matrix = torch.where(steps <= _REACH, torch.exp(-0.5 * steps.square()), 0.0)
        self._reach = math.ceil(_REACH * sigma)

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Blocks of rows, each with the columns that they reach."""
        size = len(self.matrix)
        for first in range(0, size, _BLOCK):
            last = min(first + _BLOCK, size)
            yield slice(first, last), slice(max(first - self._reach, 0), min(last + self._reach, size))


def _blurred(planes: Tensor, along_w: _Band, along_h: _Band) -> Tensor:
    """``along_w @ planes @ along_h`` of planes (..., W, H), in blocks that leave out most zeros of the matrices."""
    once, twice = (torch.empty(planes.shape, device=planes.device) for _ in range(2))
    for block, reached in along_h.blocks():
        once[..., block] = planes[..., reached] @ along_h.matrix[reached, block]
    for block, reached in along_w.blocks():
        twice[..., block, :] = along_w.matrix[block, reached] @ once[..., reached, :]
    return twice
