"""Where tissue gets its blood late, roughly and quickly: what surrounds a vessel tells an artery from a vein."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .bolus_shapes import delayed, dispersed
from .masked_grid import MaskedGrid, Spacing

_CELL_MM = 8.0
_REACH_MM = 8.0  # standard deviation of the surroundings of a voxel
_TRANSIT_S = 4.0  # mean transit time of normal tissue
_LAGS_S = (0.0, 20.0, 0.5)  # the delays tried: from, to, step
_SMALLEST_CORRELATION = 0.5  # with the arterial bolus, for tissue that has one
_LATE_S = 2.5  # beyond the usual; Tmax of 4 s, the mildest delay that is read, is 2.5 s above the normal 1.5 s
_SMALLEST_TISSUE = 0.05  # of the surroundings


class Surroundings(NamedTuple):
    """The tissue around voxels; tensors (N,)."""

    lag_s: Tensor
    """Mean delay from the artery to the tissue that has a bolus, s; 0 where there is none."""
    late_share: Tensor
    """Share of the tissue whose bolus is late or missing; 0 where there is no tissue."""


class TissueDelay:
    """Delay from the arterial input to tissue, on cells of 8 mm in each slice, by the best lag of a dispersed bolus.

    Args:
        series: (T, H, W, D) in HU.
        tissue: boolean (H, W, D), brain without vessels and fluid.
        aif_hu: (T,), the arterial enhancement.
        n_baseline: frames before contrast arrives.
        times: (T,), the time of each frame in s.
        spacing_mm: voxel size along H, W and D.
    """

    def __init__(
        self, series: Tensor, tissue: Tensor, aif_hu: Tensor, n_baseline: int, times: Tensor, spacing_mm: Spacing
    ) -> None:
        self._spacing_mm = spacing_mm
        self._size = [
            min(count, max(1, round(count * pixel_mm / _CELL_MM)))
            for count, pixel_mm in zip(series.shape[1:3], spacing_mm, strict=False)
        ]
        self._shares = [
            _cell_means(count, size, series.device) for count, size in zip(series.shape[1:3], self._size, strict=True)
        ]
        amount = self._reduced(tissue.float())
        sums = torch.stack([self._reduced(torch.where(tissue, frame.float(), 0.0)) for frame in series])
        curves = (sums / amount.clamp_min(1e-6)).flatten(1)
        lag_s, likeness = best_lag_s(curves - curves[:n_baseline].mean(dim=0), aif_hu, times)
        perfused = (likeness >= _SMALLEST_CORRELATION) & (amount.flatten() > 0)
        usual_s = torch.quantile(lag_s[perfused], 0.25) if perfused.any() else lag_s.new_zeros(())
        late = ~perfused | (lag_s > usual_s + _LATE_S)
        weight = torch.stack([amount.flatten(), amount.flatten() * perfused])
        maps = torch.stack([weight[0], weight[0] * late, weight[1], weight[1] * lag_s])
        self._maps = self._blurred(maps.unflatten(1, amount.shape))

    def around(self, grid: MaskedGrid) -> Surroundings:
        """The surroundings of the voxels of a grid."""
        along_h, along_w, along_d = torch.nonzero(grid.mask, as_tuple=True)
        rows, columns = (
            (place * size) // count
            for place, size, count in zip((along_h, along_w), self._size, grid.mask.shape, strict=False)
        )
        # In the order of the grid, which counts along H first.
        order = torch.argsort((along_d * grid.mask.shape[1] + along_w) * grid.mask.shape[0] + along_h)
        amount, late, perfused, lag_s = self._maps[:, along_d, rows, columns][:, order]
        return Surroundings(
            torch.where(perfused > _SMALLEST_TISSUE, lag_s / perfused.clamp_min(1e-6), 0.0),
            torch.where(amount > _SMALLEST_TISSUE, late / amount.clamp_min(1e-6), 0.0),
        )

    def _reduced(self, volume: Tensor) -> Tensor:
        """Mean (D, h, w) of a volume (H, W, D) over the cells; on volumes in the order of a file."""
        along_h, along_w = self._shares
        return (along_w @ (volume.permute(2, 1, 0) @ along_h.T)).transpose(1, 2)

    def _blurred(self, maps: Tensor) -> Tensor:
        """Maps (K, D, h, w) after a Gaussian that takes in the surroundings, in the plane."""
        cell = torch.ones_like(maps[0, 0], dtype=torch.bool)[..., None]
        grid = MaskedGrid(cell)
        cells_mm = (_CELL_MM, _CELL_MM, 1.0)
        flat = grid.curves(maps.flatten(0, 1)[..., None])
        return grid.volume(grid.smooth(flat, _REACH_MM, cells_mm))[..., 0].unflatten(0, maps.shape[:2])


def _cell_means(count: int, size: int, device: torch.device) -> Tensor:
    """Matrix (size, count) that averages a line of `count` values over `size` cells."""
    cell = torch.arange(count, device=device) * size // count
    inside = (cell == torch.arange(size, device=device)[:, None]).float()
    return inside / inside.sum(dim=1, keepdim=True)


def best_lag_s(curves: Tensor, aif_hu: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Delay (N,) in s at which curves (T, N) resemble the dispersed arterial curve (T,) most, and that correlation."""
    start, end, step = _LAGS_S
    lags_s = torch.arange(start, end + step / 2, step, device=curves.device)
    shapes = delayed(dispersed(aif_hu, times, _TRANSIT_S), times, lags_s)
    shapes, curves = (values - values.mean(dim=0) for values in (shapes, curves))
    shapes, curves = (values / values.norm(dim=0).clamp_min(1e-6) for values in (shapes, curves))
    likeness, best = (shapes.T @ curves).max(dim=0)
    return lags_s[best], likeness
