"""The gate that every series, map and header passes: numbers, their bounds, and what their headers may claim.

A check is a row of a table: what is looked at, the bounds beyond which it is warned of or refused, and where these come
from. This module has the rows and the findings of headers; `scripts.perfusion.quality` has those of series and
`scripts.perfusion.given_maps` those of maps. `docs/how-to/checks.md` shows all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

Bounds = tuple[float, float]
ANYTHING: Bounds = (-math.inf, math.inf)

_DIRECTIONS = dict(zip("RASLPI", np.vstack([np.eye(3), -np.eye(3)]), strict=True))
_LARGEST_ANGLE_DEG = 45.0  # between sform and qform


@dataclass(frozen=True)
class QualityWarning:
    """One finding: its name, the number that triggered it, the limit, and whether it makes the data unusable."""

    name: str
    value: float
    limit: float
    unit: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.3g} {self.unit} (limit {self.limit:.3g})".replace("  ", " ")


class Check(NamedTuple):
    """A row of the table: a number outside of ``warn`` is warned of, one outside of ``refuse`` is refused."""

    name: str
    what: str
    unit: str
    source: str
    warn: Bounds = ANYTHING
    refuse: Bounds = ANYTHING

    def judge(self, value: float, fatal_only: bool = False) -> QualityWarning | None:
        """The finding about a number, if it is outside of the bounds; one that is not a number is."""
        for bounds, fatal in ((self.refuse, True), (self.warn, False)):
            if bounds == ANYTHING or (fatal_only and not fatal):
                continue
            if not bounds[0] <= value <= bounds[1]:
                low = value < bounds[0] or math.isinf(bounds[1])
                return QualityWarning(self.name, value, bounds[0] if low else bounds[1], self.unit, fatal)
        return None


def findings(checks: Iterable[Check], measured: Mapping[str, float]) -> list[QualityWarning]:
    """What is outside of the bounds among measured numbers, the unusable first; a check without a number is left out.

    Raises:
        KeyError: a number has no check.
    """
    table = {check.name: check for check in checks}
    found = [table[name].judge(value) for name, value in measured.items()]
    return sorted((finding for finding in found if finding is not None), key=lambda finding: not finding.fatal)


def fatal_text(found: Sequence[QualityWarning]) -> str:
    """The findings that make the data unusable, in one line; empty where there is none."""
    return "; ".join(str(finding) for finding in found if finding.fatal)


def joined(*warnings: object) -> str:
    """Warnings as one string, each once, in their order."""
    parts = (part for warning in warnings for part in str(warning).split("; "))
    return "; ".join(dict.fromkeys(part for part in parts if part))


_ISLES = "ISLES 2018: 0.80-1.04 mm, 2-22 slices 4-12 mm apart, 43-64 frames 1-2 s apart (Wang 2020, section 4.1)"
_KASASBEH = "60-70 s show the whole venous curve (Kasasbeh 2016, PMC5134896)"

FRAME_INTERVAL = Check(
    "frame_interval",
    "time between frames",
    "s",
    f"{_ISLES}; flow is tested up to 2 s, where it errs by up to 30 % without noise, by up to 55 % for short box "
    "residues; 2.5 s is a choice; above 15 s no protocol is known",
    warn=(0.25, 2.5),
    refuse=(0.1, 15.0),
)
DURATION = Check(
    "duration",
    "first to last frame",
    "s",
    f"{_KASASBEH}; the longest protocols with a late phase take 3 to 4 minutes",
    warn=(30.0, 240.0),
    refuse=(8.0, 1800.0),
)
VALUES = Check(
    "values",
    "value of the series that is furthest from 0",
    "HU",
    "12-bit CT numbers end at 3071, the extended scale at 30710, 16 bits at 32767",
    refuse=(-1e5, 1e5),
)
HEADER_CHECKS = (
    Check(
        "orientation",
        "forms (sform, qform) of the header that tell where right and left are",
        "forms of the header",
        "NIfTI-1: with both codes 0 nothing does; refused unless the user gives the orientation",
        refuse=(1, 2),
    ),
    Check(
        "orientation_conflict",
        "largest angle between the axes of sform and qform",
        "degrees",
        "NIfTI-1 lets both differ, as a registration does; beyond 45 degrees an axis points elsewhere, perhaps to the "
        "other side; refused unless the user gives the orientation",
        refuse=(0, _LARGEST_ANGLE_DEG),
    ),
    Check(
        "orientation_given",
        "forms of the header, where the orientation is the user's word",
        "usable forms in the header: sides are those that the user gave",
        "said with every result",
        warn=(1, 2),
    ),
    Check(
        "space_unit",
        "unit of length in the header",
        "mm",
        "NIfTI-1 knows m, mm and micron; readers take every number for mm",
        refuse=(1, 1),
    ),
    Check("pixel", "size of a pixel", "mm", _ISLES, warn=(0.2, 2.5), refuse=(0.05, 10.0)),
    Check("slice_distance", "distance between slices", "mm", _ISLES, warn=(0.3, 15.0), refuse=(0.1, 50.0)),
    Check(
        "size_conflict",
        "largest ratio of the voxel sizes by the sform and by pixdim, whichever is larger",
        "fold",
        "NIfTI-1: pixdim has the sizes, the sform a place, perhaps of a template; 1.06 in each axis is a fifth more",
        warn=(1.0, 1.05),
    ),
    Check(
        "coverage",
        "height of all slices together",
        "mm",
        "a choice: 2 slices of ISLES 2018 are 8 to 24 mm, the widest detectors show 160 mm, a head is 250 mm high",
        warn=(15.0, 260.0),
        refuse=(0.3, 600.0),
    ),
    Check(
        "header_interval",
        "time between frames that the header states",
        "s, not believed: give dt_s",
        "as `frame_interval`; the number is not used, so that maps are computed only with a time that the user gives",
        warn=(0.1, 15.0),
    ),
)


def header_findings(header: nib.Nifti1Header, orientation: str | None = None) -> list[QualityWarning]:
    """What is implausible in a header of a series or of a map: orientation, unit of length, sizes, interval.

    Args:
        header: the header of a file.
        orientation: where the voxel axes point to, such as ``"RAS"``, in the words of the user.
    """
    sizes_mm = voxel_sizes(np.asarray(header.get_best_affine()))
    slice_axis = _slice_axis(header, orientation)
    in_plane = np.delete(sizes_mm, slice_axis)
    shape = (*header.get_data_shape(), 1, 1, 1)
    measured = {
        **_orientation_numbers(header, orientation),
        "space_unit": {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0),
        "pixel": _furthest(in_plane, (0.2, 2.5)),
        "slice_distance": float(sizes_mm[slice_axis]),
        "size_conflict": _size_ratio(header, sizes_mm),
    }
    if len(header.get_data_shape()) >= 4:  # a map may be a single slice, for all that can be told from it
        measured["coverage"] = float(sizes_mm[slice_axis]) * shape[slice_axis]
        stated_s = stated_interval_s(header)
        if stated_s is not None:
            measured["header_interval"] = stated_s
    return findings(HEADER_CHECKS, measured)


def stated_interval_s(header: nib.Nifti1Header) -> float | None:
    """Time between frames in s as a header with a unit of time states it, whatever it is; None where there is none."""
    scale = {8: 1.0, 16: 1e-3, 24: 1e-6}.get(int(header["xyzt_units"]) & 56)
    interval = float(str(header["pixdim"][4]))  # by its decimals: the float32 1.2 is 1.2000000477 as a float
    return None if scale is None or not math.isfinite(interval) or interval <= 0 else interval * scale


def oriented_affine(header: nib.Nifti1Header, orientation: str | None) -> NDArray[np.float64]:
    """The affine of a file; where its header tells no orientation or two, that of the axes that the user gives.

    Args:
        header: the header of a file.
        orientation: three letters, where the first, second and third voxel axis point to: one each of R or L, A or P,
            S or I; None where the header is to tell.

    Raises:
        ValueError: ``orientation`` is not three such letters, or the header tells another.
    """
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    if orientation is None:
        return affine
    codes = orientation_codes(orientation)
    if _forms(header) > 0 and _angle_deg(header) <= _LARGEST_ANGLE_DEG:
        stated = "".join(code or "?" for code in nib.orientations.aff2axcodes(affine))
        if stated != codes:
            raise ValueError(f"orientation must be what the header tells, {stated}, got {codes}")
        return affine
    result = np.eye(4)
    for axis, (code, size_mm) in enumerate(zip(codes, header.get_zooms()[:3], strict=True)):
        result[:3, axis] = float(size_mm) * _DIRECTIONS[code]
    shape = (*header.get_data_shape(), 1, 1)[:3]
    result[:3, 3] = -result[:3, :3] @ ((np.array(shape) - 1) / 2)
    return result


def orientation_codes(orientation: str) -> str:
    """Three letters for the voxel axes, in capitals.

    Raises:
        ValueError: they are not one each of R or L, A or P, S or I.
    """
    codes = orientation.upper() if isinstance(orientation, str) else ""
    if sorted("RAS".find(code) if code in "RAS" else "LPI".find(code) for code in codes) != [0, 1, 2]:
        raise ValueError(f"orientation must be three letters such as RAS or LPS, got {orientation!r}")
    return codes


def _orientation_numbers(header: nib.Nifti1Header, orientation: str | None) -> dict[str, float]:
    forms, angle_deg = _forms(header), _angle_deg(header)
    if orientation is not None and (forms == 0 or angle_deg > _LARGEST_ANGLE_DEG):
        return {"orientation_given": 0}
    return {"orientation": forms, "orientation_conflict": angle_deg}


def _forms(header: nib.Nifti1Header) -> int:
    return int(header["sform_code"] > 0) + int(header["qform_code"] > 0)


def _angle_deg(header: nib.Nifti1Header) -> float:
    """Largest angle in degrees between an axis of the sform and the same axis of the qform; 0 where one is missing."""
    if _forms(header) < 2:
        return 0.0
    sform, qform = (form[:3, :3] / voxel_sizes(form) for form in (header.get_sform(), header.get_qform()))
    return math.degrees(math.acos(float(np.clip((sform * qform).sum(axis=0).min(), -1, 1))))


def _size_ratio(header: nib.Nifti1Header, sizes_mm: NDArray) -> float:
    """Largest ratio of sizes to those in pixdim, or of these to them; 1 where pixdim has none."""
    stated_mm = np.abs(header["pixdim"][1:4].astype(np.float64))
    if not (np.isfinite(stated_mm).all() and (stated_mm > 0).all() and (sizes_mm > 0).all()):
        return 1.0
    return float(np.maximum(sizes_mm / stated_mm, stated_mm / sizes_mm).max())


def _slice_axis(header: nib.Nifti1Header, orientation: str | None) -> int:
    if orientation is not None:
        codes = orientation_codes(orientation)
        return next(axis for axis in range(3) if codes[axis] in "SI")
    affine = np.asarray(header.get_best_affine())
    return int(np.argmax(np.abs(affine[2, :3]) / voxel_sizes(affine)))


def _furthest(values: NDArray, bounds: Bounds) -> float:
    """The value that lies furthest outside of positive bounds, or the largest inside."""
    return float(max(values, key=lambda value: max(bounds[0] / max(value, 1e-12), value / bounds[1])))


def as_markdown(checks: Iterable[Check]) -> str:
    """The table of checks, as `docs/how-to/checks.md` shows it."""
    lines = ["| name | what | unit | warned of | refused | source |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{c.name}` | {c.what} | {c.unit} | {_outside(c.warn)} | {_outside(c.refuse)} | {c.source} |" for c in checks
    ]
    return "\n".join(lines) + "\n"


def _outside(bounds: Bounds) -> str:
    """Bounds in words: what lies outside of them."""
    low, high = bounds
    parts = [f"below {low:g}"] if math.isfinite(low) else []
    parts += [f"above {high:g}"] if math.isfinite(high) else []
    return " or ".join(parts) or "-"
