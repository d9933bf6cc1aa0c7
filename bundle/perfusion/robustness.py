"""What changes the volumes of core and hypoperfusion that should not, or should be warned of.

Each case is scanned again with more noise, a later bolus or another matrix, or its series is spoiled by cut frames or
movements. A volume may change by 20 % or 5 ml, whichever is more; what changes more must be refused or warned of.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scripts.perfusion import MapErrors, check_quality, perfusion_maps, read_maps
from scripts.perfusion.filters import DEFAULT_SMOOTHING_MM
from scripts.perfusion.masked_grid import Spacing
from scripts.perfusion.quality import refuse_unusable
from scripts.phantom.parameters import FIELD_OF_VIEW_PIXELS, ScanParameters

from .cases import DELAY_S, NOISE_HU, examine
from .movement import moved, rolled

ALLOWED_SHARE, ALLOWED_ML = 0.2, 5.0
CUT_FRAMES = 25
LATE_S = 10.0
SLOW_S = 3.0
MOST_SLICES = 8  # bounds the memory of the largest matrix

#: Outcomes of a variant, and what they mean.
OUTCOMES = {
    "within": "both volumes within the limits",
    "warned": "not within, but with a warning or a caution by name, whether or not the base has it, too",
    "refused": "no maps, with an error that says why",
    "silent": "not within, and no warning",
}


class Scan(NamedTuple):
    """A series as the computation gets it."""

    series: Tensor
    """(T, H, W, D) in HU."""
    dt_s: float
    spacing_mm: Spacing
    affine: Tensor


Change = Callable[[ScanParameters], ScanParameters]
Spoil = Callable[[Scan, np.random.Generator], Scan]


@dataclass(frozen=True)
class Variant:
    """How a variant differs from the base.

    Attributes:
        title: in words.
        change: of the parameters of the scan, which is simulated again; None for the series of the base.
        spoil: of the series.
        matrix: pixels along each side of a slice, for a base of 256.
    """

    title: str
    change: Change | None = None
    spoil: Spoil | None = None
    matrix: int = FIELD_OF_VIEW_PIXELS


def _late(scan: ScanParameters) -> ScanParameters:
    return replace(scan, bolus=replace(scan.bolus, arrival_s=scan.bolus.arrival_s + LATE_S))


def _noisy(scan: ScanParameters) -> ScanParameters:
    return replace(scan, acquisition=replace(scan.acquisition, noise_hu=2 * NOISE_HU))


def _slow(scan: ScanParameters) -> ScanParameters:
    """Fewer frames in the same time."""
    acquisition = scan.acquisition
    length_s = (acquisition.n_frames - 1) * acquisition.frame_interval_s
    frames = math.floor(length_s / SLOW_S) + 1
    return replace(scan, acquisition=replace(acquisition, n_frames=frames, frame_interval_s=SLOW_S))


def _thin(scan: ScanParameters) -> ScanParameters:
    return replace(scan, grid=replace(scan.grid, n_slices=min(scan.grid.n_slices, MOST_SLICES)))


VARIANTS = {
    "cut": Variant(
        f"{CUT_FRAMES} frames cut at the end", spoil=lambda scan, rng: scan._replace(series=scan.series[:-CUT_FRAMES])
    ),
    "late": Variant(f"bolus {LATE_S:g} s later in as many frames", change=_late),
    "noise": Variant("twice the noise", change=_noisy),
    "slow": Variant(f"{SLOW_S:g} s a frame", change=_slow),
    "in-plane": Variant(
        "five frames moved in the plane",
        spoil=lambda scan, rng: scan._replace(series=moved(scan.series, scan.spacing_mm, rng)),
    ),
    "through-plane": Variant(
        "slices of eight frames rolled by one",
        spoil=lambda scan, rng: scan._replace(series=rolled(scan.series, rng)),
    ),
    "220": Variant("220 x 220 pixels", change=lambda scan: scan, matrix=220),
    "512": Variant("512 x 512 pixels", change=lambda scan: scan, matrix=512),
}
ONE_SLICE = "one slice"


class Result(NamedTuple):
    """What the computation says of a scan; without masks, and an error, where it refuses."""

    core: Tensor | None
    delayed: Tensor | None
    core_ml: float
    delayed_ml: float
    warnings: frozenset[str]
    error: str = ""


def evaluate_case(seed: int, matrix: int = FIELD_OF_VIEW_PIXELS) -> list[dict[str, Any]]:
    """The rows of a seed: the base, every variant and a single slice.

    Args:
        seed: of patient and scan.
        matrix: pixels along each side of a slice of the base; other matrices scale with it.
    """
    base_scan = _scan(seed, matrix)
    base = read_scan(base_scan)
    row = {"seed": seed, "slices": base_scan.series.shape[3], "frames": len(base_scan.series)}
    rows = [row | {"variant": "base"} | _numbers(base) | {"outcome": "refused" if base.error else "within"}]
    if base.core is None or base.delayed is None:
        return rows
    for name, variant in VARIANTS.items():
        scan = base_scan
        if variant.change is not None:
            scan = _scan(seed, round(matrix * variant.matrix / FIELD_OF_VIEW_PIXELS), variant.change)
        if variant.spoil is not None:
            scan = variant.spoil(scan, np.random.default_rng(seed))
        rows.append(row | {"variant": name} | _compared(read_scan(scan), base))
    index = int(base.delayed.sum(dim=(0, 1)).argmax())
    single = _restricted(base, base.core, base.delayed, index, base_scan.spacing_mm)
    rows.append(row | {"variant": ONE_SLICE} | _compared(read_scan(_slice(base_scan, index)), single))
    return rows


def read_scan(scan: Scan) -> Result:
    """Maps, quality control and reading of a scan, as the command line makes them."""
    try:
        maps = perfusion_maps(scan.series, scan.dt_s, scan.spacing_mm)
        warnings = check_quality(scan.series, maps, scan.spacing_mm)
        refuse_unusable(warnings)
        errors = None
        if maps.cbf_sd is not None and maps.tmax_sd is not None:
            errors = MapErrors.of_estimate(maps.cbf_sd, maps.tmax_sd, DEFAULT_SMOOTHING_MM)
        reading, core, delayed = read_maps(
            maps.cbf, maps.cbv, maps.tmax, maps.tissue, scan.affine, scan.spacing_mm, errors=errors
        )
    except ValueError as error:  # a clear refusal; anything else is a defect and ends the run
        return Result(None, None, math.nan, math.nan, frozenset(), str(error))
    names = {warning.name for warning in warnings} | {caution.name for caution in reading.cautions}
    return Result(core, delayed, reading.core_ml, reading.tmax_ml[f"{DELAY_S:g}"], frozenset(names))


def outcome(found: Result, base: Result) -> str:
    """Which of :data:`OUTCOMES` it is."""
    if found.error:
        return "refused"
    if all(_near(*pair) for pair in ((found.core_ml, base.core_ml), (found.delayed_ml, base.delayed_ml))):
        return "within"
    return "warned" if found.warnings else "silent"


def _near(found_ml: float, base_ml: float) -> bool:
    """Whether a volume is near that of the base; one that is withheld is near only to another one that is."""
    if math.isnan(found_ml) or math.isnan(base_ml):
        return math.isnan(found_ml) and math.isnan(base_ml)
    return abs(found_ml - base_ml) <= max(ALLOWED_SHARE * base_ml, ALLOWED_ML)


def _scan(seed: int, matrix: int, change: Change = lambda scan: scan) -> Scan:
    case, series, dt_s, spacing_mm = examine(seed, NOISE_HU, matrix, lambda scan: change(_thin(scan)))
    return Scan(series, dt_s, spacing_mm, torch.from_numpy(case.grid.affine))


def _slice(scan: Scan, index: int) -> Scan:
    affine = scan.affine.clone()
    affine[:3, 3] += index * affine[:3, 2]
    return scan._replace(series=scan.series[..., index : index + 1], affine=affine)


def _restricted(base: Result, core: Tensor, delayed: Tensor, index: int, spacing_mm: Spacing) -> Result:
    """The base's volumes in one of its slices."""
    core_ml, delayed_ml = (float(mask[..., index].sum()) * math.prod(spacing_mm) / 1000 for mask in (core, delayed))
    return base._replace(core_ml=math.nan if math.isnan(base.core_ml) else core_ml, delayed_ml=delayed_ml)


def _compared(found: Result, base: Result) -> dict[str, Any]:
    new = " ".join(sorted(found.warnings - base.warnings))
    of_base = {"base_core_ml": round(base.core_ml, 2), "base_delayed_ml": round(base.delayed_ml, 2)}
    return _numbers(found) | of_base | {"outcome": outcome(found, base), "new_warnings": new}


def _numbers(found: Result) -> dict[str, Any]:
    return {
        "core_ml": round(found.core_ml, 2),
        "delayed_ml": round(found.delayed_ml, 2),
        "warnings": " ".join(sorted(found.warnings)),
        "error": found.error,
    }
