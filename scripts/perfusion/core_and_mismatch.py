"""Clinical reading of perfusion maps: core, hypoperfusion, mismatch, and the trials' criteria that are about images."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .cautions import Caution, Pattern, find_cautions
from .flags import mismatch_ratio, trial_flags
from .hemispheres import right_side
from .intervals import Interval, MapErrors, volume_intervals
from .masked_grid import Spacing
from .thresholds import ReadingThresholds


@dataclass(frozen=True)
class Reading:
    """Volumes in ml and what follows from them; NaN where a number has no meaning, None where an interval has none."""

    side: str
    """``left`` or ``right`` of the patient, ``none`` without a lesion."""
    core_ml: float
    """NaN without a reference."""
    core_ml_interval: Interval | None
    """Intervals of 90 %, see `volume_intervals`; None without the maps' standard deviations."""
    tmax_ml: dict[str, float]
    """Volume of tissue with Tmax above each threshold, the key in s."""
    tmax_ml_interval: dict[str, Interval | None]
    """Of the hypoperfusion."""
    mismatch_ml: float
    """Hypoperfusion less core; NaN without a reference."""
    mismatch_ml_interval: Interval | None
    mismatch_ratio: float
    """Hypoperfusion over core; infinite without a core, NaN for little hypoperfusion or without a reference."""
    mismatch_ratio_interval: Interval | None
    hypoperfusion_intensity_ratio: float
    """Volume of Tmax > 10 s over that of Tmax > 6 s; NaN for little hypoperfusion or without a reference."""
    cbv_index: float
    """Mean CBV within the hypoperfusion over that of normal tissue of the other side (Arenillas et al., JCBFM 2018);
    NaN for little hypoperfusion or without a reference."""
    reference_cbf: float
    """Median flow of normal tissue of the other side, ml/100 g/min; NaN where there is too little of it."""
    reference_cbv: float
    """Mean volume of normal tissue of the other side, ml/100 g; NaN where there is too little of it."""
    reference_ml: float
    """Normal tissue of the other side."""
    flags: dict[str, dict[str, Any]]
    """Criteria of trials: whether the images meet them (None: cannot be told), why not, and the numbers used."""
    cautions: tuple[Caution, ...]
    """What makes the reading doubtful."""

    def as_json(self) -> dict[str, Any]:
        """Plain numbers; NaN and infinity, which JSON lacks, become None and a string."""
        return _plain(asdict(self))


def read_maps(
    cbf: Tensor,
    cbv: Tensor,
    tmax: Tensor,
    tissue: Tensor,
    affine: Tensor,
    spacing_mm: Spacing,
    thresholds: ReadingThresholds | None = None,
    errors: MapErrors | None = None,
) -> tuple[Reading, Tensor, Tensor]:
    """Read the maps of an examination.

    The plane between the hemispheres passes through the brain's center, with the tilt at which the mirrored brain
    overlaps itself most. The side with more delayed tissue is the affected one; normal tissue of the
    other is the reference. The core is the tissue within the delay whose flow is below a share of the reference.
    Without enough normal tissue there is no core, no mismatch and no flag.

    Args:
        cbf: (H, W, D), ml/100 g/min.
        cbv: (H, W, D), ml/100 g.
        tmax: (H, W, D), s.
        tissue: boolean (H, W, D), brain without vessels and fluid.
        affine: (4, 4), voxel indices to mm (RAS+), which tells left from right.
        spacing_mm: voxel size along H, W and D.
        thresholds: the defaults if None.
        errors: standard deviations of the maps, for the intervals; without them there are none.

    Returns:
        The reading, and the boolean masks (H, W, D) of core and hypoperfusion.

    Raises:
        ValueError: the maps differ in shape or are not finite within the tissue.
    """
    _check(tissue, cbf=cbf, cbv=cbv, tmax=tmax, **(errors.maps() if errors else {}))
    limits = thresholds or ReadingThresholds()
    voxel_ml = math.prod(spacing_mm) / 1000
    regions = _regions(cbf, tmax, tissue, affine, voxel_ml, limits)
    delayed, normal = regions.delayed, regions.normal
    normal_ml, delayed_ml = (float(mask.sum()) * voxel_ml for mask in (normal, delayed))
    known = normal_ml >= limits.normal_ml
    reference_cbf = float(cbf[normal].median()) if known else math.nan
    reference_cbv = float(cbv[normal].mean()) if known else math.nan
    core = delayed & (cbf < limits.core_rcbf * reference_cbf)  # none where the reference is NaN
    core_ml = float(core.sum()) * voxel_ml if known else math.nan
    limit_s = sorted({limits.hypoperfusion_s, limits.severe_s, *limits.further_tmax_s})
    tmax_ml = {f"{limit:g}": float((tissue & (tmax > limit)).sum()) * voxel_ml for limit in limit_s}
    intervals = None
    if errors is not None and known:
        intervals = volume_intervals(
            cbf, tmax, errors, tissue, normal, spacing_mm, limits.core_rcbf, limits.hypoperfusion_s
        )
    pattern = _pattern(cbf, cbv, tmax, tissue, regions, normal_ml, (reference_cbf, reference_cbv), limits)
    core_noise_ml = intervals.core_by_noise_ml[1] - core_ml if intervals else math.nan
    cautions = find_cautions(replace(pattern, core_ml=core_ml, core_noise_ml=core_noise_ml), limits)
    withheld = next((caution.text for caution in cautions if caution.withholds), None)
    enough = known and delayed_ml >= limits.ratio_ml
    reading = Reading(
        side=regions.side,
        core_ml=core_ml,
        core_ml_interval=intervals and intervals.core_ml,
        tmax_ml=tmax_ml,
        tmax_ml_interval={f"{limits.hypoperfusion_s:g}": intervals and intervals.delayed_ml},
        mismatch_ml=delayed_ml - core_ml,
        mismatch_ml_interval=intervals and intervals.mismatch_ml,
        mismatch_ratio=mismatch_ratio(core_ml, delayed_ml) if enough else math.nan,
        mismatch_ratio_interval=intervals.mismatch_ratio if intervals and enough else None,
        hypoperfusion_intensity_ratio=tmax_ml[f"{limits.severe_s:g}"] / delayed_ml if enough else math.nan,
        cbv_index=_ratio(float(cbv[delayed].mean()), reference_cbv) if enough else math.nan,
        reference_cbf=reference_cbf,
        reference_cbv=reference_cbv,
        reference_ml=normal_ml,
        flags=trial_flags(core_ml, delayed_ml, limits.lesion_ml, withheld),
        cautions=tuple(cautions),
    )
    return reading, core, delayed


class _Regions(NamedTuple):
    """What the reading compares; boolean (H, W, D)."""

    side: str
    affected: Tensor
    """The half of the affected side; all voxels without one."""
    other: Tensor
    """The other half; all voxels without an affected side."""
    delayed: Tensor
    normal: Tensor


def _regions(
    cbf: Tensor, tmax: Tensor, tissue: Tensor, affine: Tensor, voxel_ml: float, limits: ReadingThresholds
) -> _Regions:
    delayed = tissue & (tmax > limits.hypoperfusion_s)
    right = right_side(tissue, affine)
    n_right, n_all = int((delayed & right).sum()), int(delayed.sum())
    both = torch.ones_like(right)
    side, affected, other = ("right", right, ~right) if 2 * n_right >= n_all else ("left", ~right, right)
    if n_all * voxel_ml < limits.smallest_ml:
        side, affected, other = "none", both, both
    return _Regions(side, affected, other, delayed, tissue & other & (tmax < limits.normal_s) & (cbf > 0))


def _pattern(
    cbf: Tensor,
    cbv: Tensor,
    tmax: Tensor,
    tissue: Tensor,
    regions: _Regions,
    normal_ml: float,
    reference: tuple[float, float],
    limits: ReadingThresholds,
) -> Pattern:
    """The numbers that cautions are found by."""
    side, other = tissue & regions.affected, tissue & regions.other
    delayed = regions.delayed & regions.affected
    return Pattern(
        normal_ml=normal_ml,
        reference_cbf=reference[0],
        delayed_share=_share(regions.delayed, side),
        other_delayed_share=_share(regions.delayed, other) if regions.side != "none" else 0.0,
        slow_share=_share(tmax >= limits.normal_s, side) if regions.side != "none" else 0.0,
        relative_cbf=_ratio(float(cbf[delayed].median()) if delayed.any() else math.nan, reference[0]),
        relative_cbv=_ratio(float(cbv[delayed].mean()), reference[1]),
    )


def _share(mask: Tensor, of: Tensor) -> float:
    return float(mask[of].float().mean()) if of.any() else 0.0


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def _check(tissue: Tensor, **maps: Tensor) -> None:
    for name, volume in maps.items():
        if volume.shape != tissue.shape:
            raise ValueError(
                f"{name}: expected the tissue mask's shape {tuple(tissue.shape)}, got {tuple(volume.shape)}"
            )
        bad = int((~torch.isfinite(volume[tissue])).sum())
        if bad:
            raise ValueError(f"{name}: expected finite values in the tissue, got {bad} NaN or infinite")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "infinite"
    return round(value, 4) if isinstance(value, float) else value
