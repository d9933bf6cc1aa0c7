"""Clinical thresholds on the maps, as a measure of the difficulty of the phantom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from ..io.nifti import read_nifti
from ..metrics import RCBF_30, TMAX_6S, lesion_metrics

#: The bare thresholds. Removing small clusters, as perfusion software does, would hide small lesions.
RULES = tuple(replace(rule, min_component_ml=0.0) for rule in (RCBF_30, TMAX_6S))


def threshold_dice(root: Path, cases: list[dict[str, str]]) -> NDArray[np.float64]:
    """Dice of both rules on written cases.

    Args:
        root: folder the paths are relative to.
        cases: datalist entries with ``cbf``, ``tmax`` and ``label``.

    Returns:
        (cases, 3): lesion volume in ml, Dice of rCBF < 30 % and Dice of Tmax > 6 s; Dice is NaN without a lesion.
    """
    return np.array([_case_dice(root, case) for case in cases])


def _case_dice(root: Path, case: dict[str, str]) -> list[float]:
    volumes = {key: read_nifti(root / case[key], case=case["case"], key=key) for key in ("cbf", "tmax", "label")}
    label, spacing_mm = volumes["label"].array > 0, voxel_sizes(volumes["label"].affine)
    if not label.any():
        return [0.0] + [np.nan] * len(RULES)
    maps = {key: volumes[key].array for key in ("cbf", "tmax")}
    found = [lesion_metrics(rule.predict(maps, spacing_mm), label, spacing_mm) for rule in RULES]
    return [found[0]["volume_ml"], *(metrics["dice"] for metrics in found)]


def report(rows: NDArray[np.float64]) -> str:
    """The text of `threshold_dice`, a few lines."""
    lesions = rows[rows[:, 0] > 0]
    lines = [f"cases {len(rows)}, without lesion {len(rows) - len(lesions)}"]
    if len(lesions):
        volumes_ml = lesions[:, 0]
        lines.append(
            f"lesion volume: median {np.median(volumes_ml):.1f} ml, {np.mean(volumes_ml < 10):.0%} below 10 ml, "
            f"{np.mean(volumes_ml > 50):.0%} above 50 ml"
        )
        lines += [
            f"{rule}: mean Dice {dice:.3f}" for rule, dice in zip(RULES, lesions[:, 1:].mean(axis=0), strict=True)
        ]
    return "\n".join(lines)
