"""The clinical thresholds on the maps, as a yardstick of how hard the phantom is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..io.nifti import read_nifti

TMAX_THRESHOLD_S = 6.0  # hypoperfusion (Olivot et al., Stroke 40:469, 2009)
RELATIVE_CBF_THRESHOLD = 0.30  # infarct core (Campbell et al., Stroke 42:3435, 2011)
_NORMAL_TMAX_S = 4.0  # tissue that serves as reference for the relative CBF


def hypoperfusion_mask(tmax_s: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where Tmax exceeds 6 s."""
    return tmax_s > TMAX_THRESHOLD_S


def core_mask(cbf: NDArray[np.floating], tmax_s: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where, within Tmax > 6 s, CBF is below 30 % of its mean over tissue with a normal Tmax."""
    inside = cbf > 0
    normal = inside & (tmax_s < _NORMAL_TMAX_S)
    reference = cbf[normal].mean() if normal.any() else (cbf[inside].mean() if inside.any() else 0.0)
    return inside & hypoperfusion_mask(tmax_s) & (cbf < RELATIVE_CBF_THRESHOLD * reference)


def dice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice overlap; NaN where the truth is empty."""
    if not truth.any():
        return float("nan")
    return 2.0 * float((prediction & truth).sum()) / float(prediction.sum() + truth.sum())


def threshold_dice(root: Path, cases: list[dict[str, str]]) -> NDArray[np.float64]:
    """Dice of both rules on written cases.

    Args:
        root: folder the paths are relative to.
        cases: datalist entries with ``cbf``, ``tmax`` and ``label``.

    Returns:
        (cases, 3): lesion volume in ml, Dice of rCBF < 30 % and Dice of Tmax > 6 s; Dice is NaN without a lesion.
    """
    rows = []
    for case in cases:
        cbf, tmax, label = (
            read_nifti(root / case[key], case=case["case"], key=key) for key in ("cbf", "tmax", "label")
        )
        truth = label.array > 0
        volume_ml = float(truth.sum()) * abs(float(np.linalg.det(label.affine[:3, :3]))) / 1000.0
        rows.append(
            (volume_ml, dice(core_mask(cbf.array, tmax.array), truth), dice(hypoperfusion_mask(tmax.array), truth))
        )
    return np.array(rows)


def report(rows: NDArray[np.float64]) -> str:
    """A few lines of text about :func:`threshold_dice`."""
    lesions = rows[rows[:, 0] > 0]
    lines = [f"cases {len(rows)}, without lesion {len(rows) - len(lesions)}"]
    if len(lesions):
        volumes = lesions[:, 0]
        lines += [
            f"lesion volume: median {np.median(volumes):.1f} ml, {np.mean(volumes < 10):.0%} below 10 ml, "
            f"{np.mean(volumes > 50):.0%} above 50 ml",
            f"rCBF < {RELATIVE_CBF_THRESHOLD:.0%} within Tmax > {TMAX_THRESHOLD_S:.0f} s: "
            f"mean Dice {lesions[:, 1].mean():.3f}",
            f"Tmax > {TMAX_THRESHOLD_S:.0f} s: mean Dice {lesions[:, 2].mean():.3f}",
        ]
    return "\n".join(lines)
