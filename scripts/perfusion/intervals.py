"""How far volumes and their quotient may be off, given the standard deviations of the maps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .masked_grid import MaskedGrid, Spacing

Interval = tuple[float, float]

COVERAGE = 0.9
_DRAWS = 100
_AT_ONCE = 10
_SEED = 0
_REACH = 3.0  # standard deviations of the kernel
_FAR = 4.0  # standard deviations from a threshold, from which on a voxel's side of it is certain
_SAMPLES_PER_LENGTH = 3.0  # pixels in a standard deviation of the kernel; more tell nothing new
_SHORTEST_MM = 1.0  # of the correlation: the noise of CT itself is correlated over about a pixel
_REFERENCE_VOXELS = 4000
_WITHIN = 1.645  # standard deviations that 90 % of a normal error stay within

DELAY_ERROR_S, FLOW_ERROR = 0.5, 0.15
"""Limits of the estimate's own errors of Tmax and flow: without noise, tissue of known delay and flow is found within
them, whatever the arterial curve, the residue function and the frame interval (`tests/perfusion/test_tiles.py`)."""


class MapErrors(NamedTuple):
    """Errors of the maps: standard deviations by noise, and errors that all voxels have in common."""

    cbf_sd: Tensor
    """(H, W, D), ml/100 g/min."""
    tmax_sd: Tensor
    """(H, W, D), s."""
    correlation_mm: float
    """Standard deviation of the Gaussian that smoothed independent errors within each slice would have passed."""
    delay_error_s: float = 0.0
    """What 90 % of the errors of Tmax that all voxels have in common stay within, s."""
    flow_error: float = 0.0
    """The same of the flow of the lesion over that of normal tissue, as a fraction."""
    filter_mm: float = 0.0
    """Standard deviation of the Gaussian that mixed neighbors into each voxel of the maps."""

    @classmethod
    def of_estimate(cls, cbf_sd: Tensor, tmax_sd: Tensor, smoothing_mm: float) -> MapErrors:
        """All errors of the maps that `perfusion_maps` makes with a smoothing."""
        return cls(cbf_sd, tmax_sd, smoothing_mm, DELAY_ERROR_S, FLOW_ERROR, smoothing_mm)

    def maps(self) -> dict[str, Tensor]:
        """The maps by name."""
        return {"cbf_sd": self.cbf_sd, "tmax_sd": self.tmax_sd}


class Intervals(NamedTuple):
    """Intervals of 90 %; each holds the value that was read."""

    core_ml: Interval
    delayed_ml: Interval
    mismatch_ml: Interval
    mismatch_ratio: Interval
    core_by_noise_ml: Interval
    """That of the core for the noise alone."""


def volume_intervals(
    cbf: Tensor,
    tmax: Tensor,
    errors: MapErrors,
    tissue: Tensor,
    normal: Tensor,
    spacing_mm: Spacing,
    core_rcbf: float,
    delay_s: float,
) -> Intervals:
    """Intervals of core, delay and mismatch.

    Three errors enter:

    * noise. Errors of neighbors are alike, as a filter made both of the same pixels, so they do not average out over a
      lesion's border as independent ones would. Therefore 100 smooth random fields with the filter's correlation are
      scaled by the standard deviations and added to the maps, and core and delay are read again, the core against the
      reference of the same fields;
    * the estimate's own error, common to all voxels: each of the 100 readings has one shift of Tmax and one factor of
      the flow;
    * the filter's. It takes from a small or shallow lesion what it mixes into it. How much cannot be seen in the maps,
      but what the same smoothing takes once more can.

    The interval of a volume V is V +- h. Of the volumes V* read again, 90 % have abs(V* - V) <= h before the mean of
    V* - V and the change by the second smoothing are added to h. Without these two it is the symmetric bootstrap
    interval (Hall, J R Stat Soc B 1988;50:35). The mean allows for the bias of a threshold in noise. The ratio's
    interval follows from that of core over delay.

    The intervals hold for the given arterial curve, tissue mask and side. Errors of flow and of Tmax are independent of
    each other, and those by noise of the slice. A wrong scale of the arterial curve cancels, as the flow is relative.
    The seed is fixed: equal maps have equal intervals.

    Args:
        cbf: (H, W, D), ml/100 g/min.
        tmax: (H, W, D), s.
        errors: their standard deviations and common errors.
        tissue: boolean (H, W, D), what is counted.
        normal: boolean (H, W, D), what the reference is the median flow of; at least one voxel.
        spacing_mm: voxel size along H, W and D.
        core_rcbf: flow of the core, below this part of the reference.
        delay_s: Tmax of the delay, above this.
    """
    voxel_ml = math.prod(spacing_mm) / 1000
    limits = _Limits(core_rcbf, delay_s)
    maps = _Maps(cbf, tmax, tissue, normal)
    counts, blurred = limits.read(maps), limits.read(_blurred(maps, errors.filter_mm, spacing_mm))
    noise, changes = _changes(maps, errors, limits, spacing_mm)
    core, delay = (counts[:, None] + changes).double().cpu() * voxel_ml
    core_by_noise = (counts[0] + noise[0]).double().cpu() * voxel_ml
    core_ml, delay_ml = (counts.double().cpu() * voxel_ml).tolist()
    blurred_core_ml, blurred_delay_ml = (blurred.double().cpu() * voxel_ml).tolist()
    fraction = _interval(
        core_ml / delay_ml if delay_ml else 0.0,
        core / delay.clamp(min=voxel_ml),
        blurred_core_ml / blurred_delay_ml if blurred_delay_ml else 0.0,
    )
    return Intervals(
        _interval(core_ml, core, blurred_core_ml),
        _interval(delay_ml, delay, blurred_delay_ml),
        _interval(delay_ml - core_ml, delay - core, blurred_delay_ml - blurred_core_ml),
        (1 / min(fraction[1], 1.0) if fraction[1] else math.inf, 1 / fraction[0] if fraction[0] else math.inf),
        _interval(core_ml, core_by_noise, core_ml),
    )


class _Maps(NamedTuple):
    """What is read; (H, W, D)."""

    cbf: Tensor
    tmax: Tensor
    tissue: Tensor
    normal: Tensor


class _Limits(NamedTuple):
    core_rcbf: float
    delay_s: float

    def read(self, maps: _Maps) -> Tensor:
        """Numbers of voxels (2,) in core and delay."""
        limit = self.core_rcbf * maps.cbf[maps.normal].median()
        return self.voxels(maps.cbf[maps.tissue], maps.tmax[maps.tissue], limit)

    def voxels(self, flow: Tensor, time_s: Tensor, limit: Tensor) -> Tensor:
        """Numbers of voxels (2, ...) in core and delay; voxels along the last axis."""
        delayed = time_s > self.delay_s
        return torch.stack([(delayed & (flow < limit)).sum(dim=-1), delayed.sum(dim=-1)])


def _blurred(maps: _Maps, sigma_mm: float, spacing_mm: Spacing) -> _Maps:
    grid = MaskedGrid(maps.tissue)
    cbf, tmax = grid.volume(grid.curves(torch.stack([maps.cbf, maps.tmax]), sigma_mm, spacing_mm))
    return maps._replace(cbf=cbf, tmax=tmax)


def _changes(maps: _Maps, errors: MapErrors, limits: _Limits, spacing_mm: Spacing) -> tuple[Tensor, Tensor]:
    """Changes (2, draws) of the numbers of voxels in core and delay by noise, and by noise and the common errors."""
    reference = maps.cbf[maps.normal].median()
    sigma_mm = max(errors.correlation_mm, _SHORTEST_MM)
    step = tuple(max(1, int(sigma_mm / (_SAMPLES_PER_LENGTH * size))) for size in spacing_mm[:2])
    lines = maps.tissue.any(dim=2)
    part = tuple(
        slice(int(line.nonzero().min()), int(line.nonzero().max()) + 1, stride)
        for line, stride in zip((lines.any(dim=1), lines.any(dim=0)), step, strict=True)
    )
    cbf, tmax, tissue, normal = (_slices_first(volume[part]) for volume in maps)
    cbf_sd, tmax_sd = (_slices_first(volume[part]) for volume in errors[:2])
    shift_s, factor = errors.delay_error_s / _WITHIN, errors.flow_error / _WITHIN
    far_s = _FAR * (tmax_sd + shift_s)
    open_ = tissue & (tmax + far_s > limits.delay_s)  # else neither
    low = cbf - _FAR * cbf_sd < 2 * limits.core_rcbf * reference
    open_ &= (tmax - far_s <= limits.delay_s) | low  # else delay alone
    index, reference_index = torch.nonzero(open_.flatten())[:, 0], torch.nonzero(normal.flatten())[:, 0]
    reference_index = reference_index[:: math.ceil(len(reference_index) / _REFERENCE_VOXELS) or 1]
    flow, flow_sd, time_s, time_sd = (volume.flatten()[index] for volume in (cbf, cbf_sd, tmax, tmax_sd))
    normal_flow, normal_sd = (volume.flatten()[reference_index] for volume in (cbf, cbf_sd))
    before = limits.voxels(flow, time_s, limits.core_rcbf * reference)
    pixel_mm = (spacing_mm[0] * step[0], spacing_mm[1] * step[1])
    generator = torch.Generator().manual_seed(_SEED)
    by_noise, by_all = [], []
    for fields in _random_fields(tuple(tissue.shape), pixel_mm, sigma_mm, generator):
        of_flow, of_time = fields.to(cbf.device).flatten(2)
        common = torch.randn(2, _AT_ONCE, 1, generator=generator).to(cbf.device)
        drawn = (normal_flow + normal_sd * of_flow[:, reference_index]).median(dim=1).values - normal_flow.median()
        limit = limits.core_rcbf * (reference + drawn)[:, None]
        flows, times_s = flow + flow_sd * of_flow[:, index], time_s + time_sd * of_time[:, index]
        by_noise.append(limits.voxels(flows, times_s, limit) - before[:, None])
        limit = limit * (factor * common[0]).exp()
        by_all.append(limits.voxels(flows, times_s + shift_s * common[1], limit) - before[:, None])
    return math.prod(step) * torch.cat(by_noise, dim=1), math.prod(step) * torch.cat(by_all, dim=1)


def _interval(value: float, draws: Tensor, blurred: float) -> Interval:
    change = draws - value
    half = float(change.abs().quantile(COVERAGE) + change.mean().abs()) + abs(blurred - value)
    return max(value - half, 0.0), value + half


def _slices_first(volume: Tensor) -> Tensor:
    return volume.permute(2, 0, 1)


def _random_fields(
    shape: tuple[int, ...], pixel_mm: tuple[float, float], sigma_mm: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """Pairs of standard normal fields (2, n, D, H, W), each slice correlated as if smoothed by a Gaussian.

    White noise at points as far apart as the Gaussian is wide, each weighted with the Gaussian at its distance from
    the voxel: the same correlation as of smoothed voxels, with few numbers to draw.
    """
    along_h, along_w = (_kernel(size, pixel, sigma_mm) for size, pixel in zip(shape[1:], pixel_mm, strict=True))
    for _ in range(0, _DRAWS, _AT_ONCE):
        white = torch.randn(2, _AT_ONCE, shape[0], along_h.shape[1], along_w.shape[1], generator=generator)
        yield along_h @ white @ along_w.T


def _kernel(size: int, pixel_mm: float, sigma_mm: float) -> Tensor:
    """(size, points) weights of a Gaussian at points one standard deviation apart; their squares add up to 1."""
    place = torch.arange(size) * (pixel_mm / sigma_mm)
    points = torch.arange(-_REACH, float(place[-1]) + _REACH + 1)
    weights = torch.exp(-0.5 * (place[:, None] - points[None]).square())
    return weights / weights.norm(dim=1, keepdim=True)
