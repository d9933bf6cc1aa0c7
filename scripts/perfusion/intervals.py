"""How far volumes and their quotient may be off, given the standard deviations of the maps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .masked_grid import Spacing

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


class MapErrors(NamedTuple):
    """Standard deviations of the maps' errors."""

    cbf_sd: Tensor
    """(H, W, D), ml/100 g/min."""
    tmax_sd: Tensor
    """(H, W, D), s."""
    correlation_mm: float
    """Standard deviation of the Gaussian that smoothed independent errors within each slice would have passed."""

    def maps(self) -> dict[str, Tensor]:
        """The maps by name."""
        return {"cbf_sd": self.cbf_sd, "tmax_sd": self.tmax_sd}


class Intervals(NamedTuple):
    """Intervals of 90 %; each holds the value that was read."""

    core_ml: Interval
    delayed_ml: Interval
    mismatch_ml: Interval
    mismatch_ratio: Interval


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

    Errors of neighbors are alike, as a filter made both of the same pixels, so they do not average out over a lesion's
    border as independent ones would. Therefore 100 smooth random fields with the filter's correlation are scaled by
    the standard deviations and added to the maps, and core and delay are read again, the core against the reference of
    the same fields. The interval of a volume V is V +- h, where 90 % of the volumes V* read again have
    abs(V* - V) <= h: the symmetric bootstrap interval (Hall, J R Stat Soc B 1988;50:35). It allows for the bias of a
    threshold in noise, and is a credible interval if the maps are a posterior's mean. The ratio's follows from that of
    core over delay.

    The intervals hold for the arterial curve and the model of the tissue that made the maps, for the given tissue mask
    and side. Errors of flow and of Tmax are independent of each other and of the slice. A wrong scale of the arterial
    curve cancels, as the flow is relative. The seed is fixed: equal maps have equal intervals.

    Args:
        cbf: (H, W, D), ml/100 g/min.
        tmax: (H, W, D), s.
        errors: their standard deviations.
        tissue: boolean (H, W, D), what is counted.
        normal: boolean (H, W, D), what the reference is the median flow of; at least one voxel.
        spacing_mm: voxel size along H, W and D.
        core_rcbf: flow of the core, below this part of the reference.
        delay_s: Tmax of the delay, above this.
    """
    reference = cbf[normal].median()
    voxel_ml = math.prod(spacing_mm) / 1000
    counts = torch.stack(_core_and_delay(cbf[tissue], tmax[tissue], core_rcbf * reference, delay_s))
    sigma_mm = max(errors.correlation_mm, _SHORTEST_MM)
    step = tuple(max(1, int(sigma_mm / (_SAMPLES_PER_LENGTH * size))) for size in spacing_mm[:2])
    part = tuple(
        slice(int(line.nonzero().min()), int(line.nonzero().max()) + 1, stride)
        for line, stride in zip((tissue.any(dim=2).any(dim=1), tissue.any(dim=2).any(dim=0)), step, strict=True)
    )
    cbf, tmax, cbf_sd, tmax_sd = (_slices_first(volume[part]) for volume in (cbf, tmax, *errors[:2]))
    tissue, normal = (_slices_first(mask[part]) for mask in (tissue, normal))
    open_ = tissue & (tmax + _FAR * tmax_sd > delay_s)  # else neither
    open_ &= (tmax - _FAR * tmax_sd <= delay_s) | (cbf - _FAR * cbf_sd < 2 * core_rcbf * reference)  # else delay alone
    index, reference_index = torch.nonzero(open_.flatten())[:, 0], torch.nonzero(normal.flatten())[:, 0]
    reference_index = reference_index[:: math.ceil(len(reference_index) / _REFERENCE_VOXELS) or 1]

    def voxels(volume: Tensor, where: Tensor) -> Tensor:
        return volume.flatten()[where]

    flow, flow_sd, time_s, time_sd = (voxels(volume, index) for volume in (cbf, cbf_sd, tmax, tmax_sd))
    normal_flow, normal_sd = voxels(cbf, reference_index), voxels(cbf_sd, reference_index)
    before = torch.stack(_core_and_delay(flow, time_s, core_rcbf * reference, delay_s))
    changes = []
    for fields in _random_fields(tuple(tissue.shape), (spacing_mm[0] * step[0], spacing_mm[1] * step[1]), sigma_mm):
        of_flow, of_time = fields.to(cbf.device).flatten(2)
        drawn = (normal_flow + normal_sd * of_flow[:, reference_index]).median(dim=1).values - normal_flow.median()
        limit = core_rcbf * (reference + drawn)[:, None]
        after = _core_and_delay(
            flow + flow_sd * of_flow[:, index], time_s + time_sd * of_time[:, index], limit, delay_s
        )
        changes.append(torch.stack(after) - before[:, None])
    core, delay = (counts[:, None] + math.prod(step) * torch.cat(changes, dim=1)).double().cpu() * voxel_ml
    core_ml, delay_ml = (counts.double().cpu() * voxel_ml).tolist()
    fraction = _interval(core_ml / delay_ml if delay_ml else 0.0, core / delay.clamp(min=voxel_ml))
    return Intervals(
        _interval(core_ml, core),
        _interval(delay_ml, delay),
        _interval(delay_ml - core_ml, delay - core),
        (1 / min(fraction[1], 1.0) if fraction[1] else math.inf, 1 / fraction[0] if fraction[0] else math.inf),
    )


def _core_and_delay(flow: Tensor, time_s: Tensor, limit: Tensor, delay_s: float) -> tuple[Tensor, Tensor]:
    """Numbers of voxels (along the last axis) in the core and in the delay."""
    delayed = time_s > delay_s
    return (delayed & (flow < limit)).sum(dim=-1), delayed.sum(dim=-1)


def _interval(value: float, draws: Tensor) -> Interval:
    change = draws - value
    half = float(change.abs().quantile(COVERAGE) + change.mean().abs())
    return max(value - half, 0.0), value + half


def _slices_first(volume: Tensor) -> Tensor:
    return volume.permute(2, 0, 1)


def _random_fields(shape: tuple[int, ...], pixel_mm: tuple[float, float], sigma_mm: float) -> Iterator[Tensor]:
    """Pairs of standard normal fields (2, n, D, H, W), each slice correlated as if smoothed by a Gaussian.

    White noise at points as far apart as the Gaussian is wide, each weighted with the Gaussian at its distance from
    the voxel: the same correlation as of smoothed voxels, with few numbers to draw.
    """
    generator = torch.Generator().manual_seed(_SEED)
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
