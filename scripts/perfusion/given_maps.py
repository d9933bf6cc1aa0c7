"""Maps that came with a series: whether they can be what they claim, and whether they are of this series.

They are compared with rough estimates of the series' own, on pixels of about 4 mm: height and area of the enhancement
and the time of its middle, which rise with CBF, CBV and Tmax. Vendors' maps differ in scale by a factor of two or
three, in smoothness and in limits; rank correlation does not see any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..io.gate import Check, QualityWarning, findings
from .curve_features import smooth_in_time
from .survey import Survey

_PIXEL_MM = 4.0
_RISEN = 0.1  # of the mean curve's height, where the baseline ends
_LEAST_VOXELS = 30
_SIDED = 0.5  # of the voxels must have a mirror image in the brain

_LEENDERS = (
    "PET of normal brain: CBF 54 and 22, CBV 5.2 and 2.7, MTT 6 to 7 s (Leenders 1990), a factor of 4 for vendors"
)
_PHANTOM = "30 phantom cases with maps of simulated vendors"


def _range(key: str, unit: str, low: float, high: float, least: float, most: float) -> Check:
    return Check(
        f"{key}_range", f"median of the given {key.upper()} in the brain", unit, _LEENDERS, (low, high), (least, most)
    )


def _agreement(key: str, what: str, low: float, source: str) -> Check:
    return Check(f"{key}_agreement", f"rank correlation of the given {key.upper()} with {what}", "", source, (low, 1))


GIVEN_CHECKS = (
    _range("cbf", "ml/100 g/min", 6, 150, 0.5, 1000),
    _range("cbv", "ml/100 g", 0.7, 15, 0.05, 100),
    _range("mtt", "s", 1.2, 25, 0.1, 200),
    _range("tmax", "s", 0, 15, -1, 100),
    Check(
        "map_values",
        "value of a given map that is furthest from 0",
        "",
        "ml/100 g/min times 100 stay below; one voxel beyond it spoils every mean",
        warn=(-1e4, 1e4),
        refuse=(-1e6, 1e6),
    ),
    Check(
        "late_tmax",
        "95th percentile of the given Tmax in the brain",
        "s",
        "watershed and white matter are 1 to 3 s late in every brain; less is another unit, more is no delay",
        warn=(0.2, 60),
    ),
    Check(
        "constant_maps",
        "given maps with one and the same value in the brain",
        "maps",
        "noise and anatomy differ from voxel to voxel",
        warn=(0, 0),
    ),
    Check(
        "negative_values",
        "largest share of voxels below 0 of a given map",
        "of the voxels",
        "none of the four can be negative; a filling such as -30 is read as a value",
        warn=(0, 0.005),
    ),
    Check(
        "central_volume",
        "median of 60 CBV / (CBF MTT)",
        "fold",
        f"1 by the central volume theorem, 0.99 to 1.00 in {_PHANTOM}; a choice, as limits and models differ",
        warn=(0.55, 1.8),
    ),
    Check(
        "maps_outside",
        "share of the maps' voxels that lie outside of the brain of the series",
        "of the voxels",
        f"up to 0.08 in {_PHANTOM}, 0.09 to 0.13 if the maps are shifted by 11 mm",
        warn=(0, 0.09),
    ),
    Check(
        "maps_apart",
        "largest share of a map's voxels where no other map shows anything",
        "of the voxels",
        "the maps of an examination are shown in one mask: below 0.002 in 60 phantom cases, above 0.08 if one is "
        "shifted by 11 mm",
        warn=(0, 0.01),
    ),
    _agreement("cbf", "the height of the enhancement", 0.3, f"above 0.6 in {_PHANTOM}"),
    _agreement("cbv", "the area of the enhancement", 0.3, f"above 0.7 in {_PHANTOM}"),
    _agreement("mtt", "area over height", -0.2, f"above 0.3 in {_PHANTOM}"),
    _agreement("tmax", "the time of the middle of the enhancement", 0.1, f"above 0.17 in {_PHANTOM}"),
    Check(
        "mirrored",
        "correlation of the differences between a voxel and its mirror image in the maps and in the series, least axis",
        "",
        f"above 0.4 in {_PHANTOM}; the negative of it when one of both is mirrored",
        warn=(-0.15, 1),
        refuse=(-0.5, 1),
    ),
)


class _Estimates(NamedTuple):
    cbf: Tensor
    cbv: Tensor
    mtt: Tensor
    tmax: Tensor


def check_given_maps(maps: Mapping[str, Tensor], survey: Survey) -> list[QualityWarning]:
    """List what is wrong with given maps, by `GIVEN_CHECKS`.

    Args:
        maps: any of ``cbf``, ``cbv``, ``mtt`` and ``tmax``, (H, W, D), on the grid of the series.
        survey: of the series.

    Returns:
        The findings, those that make the maps unusable first.
    """
    factor = tuple(max(1, round(_PIXEL_MM / mm)) for mm in survey.spacing_mm[:2])
    brain = _pooled(survey.inside.float(), factor) > 0.5
    given = {key: _pooled(_pooled(value.float(), survey.factor), factor) for key, value in maps.items()}
    shown = torch.stack([value != 0 for value in given.values()]).any(dim=0)
    extremes = torch.stack([edge for value in maps.values() for edge in (value.min(), value.max())]).float()
    measured = {
        "map_values": float(extremes[extremes.abs().argmax()]),
        "negative_values": max(float((value < 0).float().mean()) for value in maps.values()),
        "maps_outside": float((shown & ~brain).sum()) / max(float(shown.sum()), 1.0),
    }
    if len(maps) > 1:
        measured["maps_apart"] = _apart([value != 0 for value in maps.values()])
    common = brain & shown
    inside = common if common.sum() >= _LEAST_VOXELS else brain
    values = {key: value[inside] for key, value in given.items()}
    medians = {key: float(value.median()) for key, value in values.items()}
    measured |= {f"{key}_range": median for key, median in medians.items()}
    if "tmax" in values:
        measured["late_tmax"] = float(values["tmax"].quantile(0.95))
    measured["constant_maps"] = float(sum(float(value.max() - value.min()) <= 1e-6 for value in values.values()))
    if {"cbf", "cbv", "mtt"} <= set(values):
        product = (values["cbf"] * values["mtt"]).clamp_min(1e-6)
        measured["central_volume"] = float((60 * values["cbv"] / product).median())
    if len(inside.nonzero()) >= _LEAST_VOXELS:
        estimates = _estimates(survey, factor, inside)
        for key, value in values.items():
            measured[f"{key}_agreement"] = _correlation(_ranks(value), _ranks(getattr(estimates, key)))
        pairs = {key: (value, getattr(estimates, key)) for key, value in values.items() if key != "mtt"}
        measured |= _sides(pairs, inside)
    return findings(GIVEN_CHECKS, measured)


def _apart(supports: list[Tensor]) -> float:
    """Largest share of a mask that lies in none of the others."""
    covered = torch.stack(supports).sum(dim=0)
    alone = [float((mask & (covered == 1)).sum()) / max(float(mask.sum()), 1.0) for mask in supports]
    return max(alone)


def _estimates(survey: Survey, factor: tuple[int, ...], inside: Tensor) -> _Estimates:
    """Height, area, their ratio and the middle of the enhancement, of the voxels inside (N,)."""
    frames = F.avg_pool2d(survey.frames.permute(0, 3, 1, 2), factor, ceil_mode=True)
    frames = F.avg_pool2d(frames, 3, 1, 1, count_include_pad=False).permute(0, 2, 3, 1)
    curves = smooth_in_time(frames[:, inside])
    mean = curves.mean(dim=1)
    peak = int(mean.argmax())
    low = mean[: peak + 1].min()
    quiet = torch.nonzero(mean[: peak + 1] <= low + _RISEN * (mean[peak] - low))
    start = int(quiet[-1]) + 1
    curves -= curves[:start].mean(dim=0)
    passing = curves.clamp_min(0)
    time = torch.arange(len(curves), device=curves.device, dtype=curves.dtype)[:, None]
    height, area = passing.amax(dim=0), passing.sum(dim=0)
    return _Estimates(height, area, area / height.clamp_min(1e-3), (time * passing).sum(dim=0) / area.clamp_min(1e-3))


def _sides(pairs: Mapping[str, tuple[Tensor, Tensor]], inside: Tensor) -> dict[str, float]:
    """Correlation of mirror differences of given and estimated maps, the least of the axes; none without a mirror."""
    least = []
    place = inside.nonzero().float().mean(dim=0)
    for axis in range(3):
        size = inside.shape[axis]
        index = (2 * place[axis] - torch.arange(size, device=inside.device)).round().long()
        mirrored = inside.index_select(axis, index.clamp(0, size - 1))
        valid = ((index >= 0) & (index < size)).reshape([-1 if a == axis else 1 for a in range(3)])
        both = inside & mirrored & valid
        if float(both.sum()) < max(_LEAST_VOXELS, _SIDED * float(inside.sum())) or size < 2:
            continue
        scores = []
        for values in pairs.values():
            first, second = (_mirror_difference(value, inside, axis, index, both) for value in values)
            scores.append(_correlation(_ranks(first), _ranks(second)))
        least.append(sum(scores) / len(scores) if scores else 0.0)
    return {"mirrored": min(least)} if least else {}


def _mirror_difference(values: Tensor, inside: Tensor, axis: int, index: Tensor, both: Tensor) -> Tensor:
    volume = torch.zeros(inside.shape, device=values.device)
    volume[inside] = values
    size = inside.shape[axis]
    return (volume - volume.index_select(axis, index.clamp(0, size - 1)))[both]


def _pooled(volume: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Means of (h, w, D) over blocks within the slices."""
    return F.avg_pool2d(volume.permute(2, 0, 1)[None], factor, ceil_mode=True)[0].permute(1, 2, 0)


def _ranks(values: Tensor) -> Tensor:
    """Ranks of values (N,), those that are equal sharing their mean."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(torch.float64)
    return (last - (counts - 1) / 2)[inverse]


def _correlation(first: Tensor, second: Tensor) -> float:
    """Of two samples (N,); 0 where one of them is constant."""
    first, second = first - first.mean(), second - second.mean()
    return float((first @ second) / (first.norm() * second.norm()).clamp_min(1e-12))
