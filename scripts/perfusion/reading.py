"""Clinical reading of perfusion maps: core, hypoperfusion, mismatch, and the trials' criteria that are about images."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .smoothing import Spacing


@dataclass(frozen=True)
class ReadingThresholds:
    """Thresholds of the reading, with the trials that use them."""

    core_rcbf: float = 0.30
    """Flow relative to the other side's, which outlines the core best in Campbell et al., Stroke 2011;42:3435; 0.30 is
    what the trials below took. A published alternative is 0.38 (Cereda et al., J Cereb Blood Flow Metab 2016)."""
    hypoperfusion_s: float = 6.0
    """Tmax (Olivot et al., Stroke 2009;40:469)."""
    further_tmax_s: tuple[float, ...] = (4.0, 8.0, 10.0)
    """Further volumes of delay."""
    severe_s: float = 10.0
    """Tmax of the hypoperfusion intensity ratio (Olivot et al., Stroke 2014;45:1018)."""
    normal_s: float = 4.0
    """Tmax below which tissue counts as normal, for the reference of flow and volume."""
    smallest_ml: float = 1.0
    """Volume of delay below which no side is affected."""


@dataclass(frozen=True)
class Reading:
    """Volumes in ml and what follows from them; NaN where a quotient has no meaning."""

    side: str
    """``left`` or ``right`` of the patient, ``none`` without a lesion."""
    core_ml: float
    tmax_ml: dict[str, float]
    """Volume of tissue with Tmax above each threshold, the key in s."""
    mismatch_ml: float
    mismatch_ratio: float
    """Hypoperfusion over core; infinite without a core."""
    hypoperfusion_intensity_ratio: float
    """Volume of Tmax > 10 s over that of Tmax > 6 s."""
    cbv_index: float
    """Mean CBV within the hypoperfusion over that of normal tissue of the other side (Arenillas et al., JCBFM 2018)."""
    reference_cbf: float
    """Median flow of normal tissue of the other side, ml/100 g/min."""
    reference_cbv: float
    """Mean volume of normal tissue of the other side, ml/100 g."""
    flags: dict[str, dict[str, Any]]
    """Criteria of trials: whether the images meet them, and the numbers used."""

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
) -> tuple[Reading, Tensor, Tensor]:
    """Read the maps of an examination.

    The plane between the hemispheres passes through the brain's centre, with the tilt at which the mirrored brain
    overlaps itself most. The side with more delayed tissue is the affected one; normal tissue of the
    other is the reference. The core is the tissue within the delay whose flow is below a share of the reference.

    Args:
        cbf: (H, W, D), ml/100 g/min.
        cbv: (H, W, D), ml/100 g.
        tmax: (H, W, D), s.
        tissue: boolean (H, W, D), brain without vessels and fluid.
        affine: (4, 4), voxel indices to mm (RAS+), which tells left from right.
        spacing_mm: voxel size along H, W and D.
        thresholds: the defaults if None.

    Returns:
        The reading, and the boolean masks (H, W, D) of core and hypoperfusion.
    """
    thresholds = thresholds or ReadingThresholds()
    voxel_ml = math.prod(spacing_mm) / 1000
    delayed = tissue & (tmax > thresholds.hypoperfusion_s)
    right = right_side(tissue, affine)
    delayed_ml = {side: float((delayed & half).sum()) * voxel_ml for side, half in (("right", right), ("left", ~right))}
    side = max(delayed_ml, key=delayed_ml.__getitem__) if sum(delayed_ml.values()) >= thresholds.smallest_ml else "none"
    other = {"right": ~right, "left": right, "none": torch.ones_like(right)}[side]
    normal = tissue & other & (tmax < thresholds.normal_s) & (cbf > 0)
    reference_cbf = float(cbf[normal].median()) if normal.any() else math.nan
    reference_cbv = float(cbv[normal].mean()) if normal.any() else math.nan
    core = delayed & (cbf < thresholds.core_rcbf * reference_cbf)
    if side == "none":
        core = torch.zeros_like(core)

    def volume(mask: Tensor) -> float:
        return float(mask.sum()) * voxel_ml

    limits = sorted({thresholds.hypoperfusion_s, thresholds.severe_s, *thresholds.further_tmax_s})
    core_ml, hypoperfused_ml = volume(core), volume(delayed)
    ratio = _ratio(hypoperfused_ml, core_ml, empty=math.inf if hypoperfused_ml > 0 else math.nan)
    reading = Reading(
        side=side,
        core_ml=core_ml,
        tmax_ml={f"{limit:g}": volume(tissue & (tmax > limit)) for limit in limits},
        mismatch_ml=hypoperfused_ml - core_ml,
        mismatch_ratio=ratio,
        hypoperfusion_intensity_ratio=_ratio(volume(tissue & (tmax > thresholds.severe_s)), hypoperfused_ml),
        cbv_index=_ratio(float(cbv[delayed].mean()) if delayed.any() else math.nan, reference_cbv),
        reference_cbf=reference_cbf,
        reference_cbv=reference_cbv,
        flags=_flags(core_ml, hypoperfused_ml - core_ml, ratio),
    )
    return reading, core, delayed


def right_side(brain: Tensor, affine: Tensor) -> Tensor:
    """Boolean (H, W, D): the voxels on the patient's right of the plane that mirrors the brain onto itself best.

    Few thick slices tell little of the tilt out of their plane, so the plane turns within them, by up to 30 degrees.
    """
    index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in brain.shape), indexing="ij"), dim=-1).double()
    place_mm = index @ affine[:3, :3].double().cpu().T + affine[:3, 3].double().cpu()
    points = place_mm[brain.cpu()]
    if not len(points):
        return torch.zeros_like(brain)
    centre = points.mean(dim=0)
    thinned = points[:: max(1, len(points) // _MOST_POINTS)] - centre
    best = max(_ANGLES_DEG, key=lambda angle_deg: _symmetry(thinned, math.radians(angle_deg)))
    angle = math.radians(best)
    offset = (place_mm - centre) @ torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    return (offset > 0).to(brain.device)


_ANGLES_DEG = tuple(float(angle) for angle in sorted(range(-30, 31, 2), key=abs))
_CELL_MM = 6.0
_MOST_POINTS = 100_000  # fewer leave so few in a cell that chance turns the plane by ten degrees


def _symmetry(points: Tensor, angle: float) -> float:
    """Overlap, 0 to 1, of a cloud of points (N, 3) about its centre with its mirror image."""
    across = points @ torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=points.dtype)
    along = points @ torch.tensor([-math.sin(angle), math.cos(angle), 0.0], dtype=points.dtype)
    cells = torch.stack([across, along], dim=1) / _CELL_MM
    size = int(cells.abs().max().ceil()) + 2
    column, row = (cells + size).round().long().unbind(dim=1)
    counts = torch.zeros(2 * size + 1, 2 * size + 1).index_put_((column, row), torch.ones(len(column)), accumulate=True)
    mirrored = counts.flip(0)
    return float(torch.minimum(counts, mirrored).sum() / counts.sum())


def _flags(core_ml: float, mismatch_ml: float, ratio: float) -> dict[str, dict[str, Any]]:
    """Imaging criteria: DEFUSE 3 (Albers et al., NEJM 2018;378:708), cores of DAWN (Nogueira et al., NEJM 2018;378:11).

    DAWN also asks for age and NIHSS, which images do not tell: each of its groups has its own flag.
    """
    return {
        "defuse3": {
            "met": core_ml < 70 and mismatch_ml >= 15 and ratio >= 1.8,
            "criteria": "core < 70 ml, mismatch >= 15 ml, ratio >= 1.8",
            "core_ml": core_ml,
            "mismatch_ml": mismatch_ml,
            "mismatch_ratio": ratio,
        },
        **{
            f"dawn_{group}": {"met": low <= core_ml < high, "criteria": criteria, "core_ml": core_ml}
            for group, low, high, criteria in (
                ("a", 0.0, 21.0, "core < 21 ml; age >= 80 years and NIHSS >= 10"),
                ("b", 0.0, 31.0, "core < 31 ml; age < 80 years and NIHSS >= 10"),
                ("c", 31.0, 51.0, "core 31 to < 51 ml; age < 80 years and NIHSS >= 20"),
            )
        },
    }


def _ratio(numerator: float, denominator: float, empty: float = math.nan) -> float:
    return numerator / denominator if denominator > 0 else empty


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "infinite"
    return round(value, 4) if isinstance(value, float) else value
