"""Agreement of computed with given maps over the cases of a data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .agreement import cohen_kappa, icc_a1, limits_of_agreement

MAPS = ("cbf", "cbv", "mtt", "tmax")
VOLUMES = ("delay", "core")
DICE = (
    "delay_dice",
    "core_dice",
    "core_infarct_dice",
    "given_core_infarct_dice",
    "delay_infarct_dice",
    "given_delay_infarct_dice",
)
COLUMNS = (
    "case",
    "subject",
    "tissue_ml",
    "compared_ml",
    *(f"{name}_r" for name in MAPS),
    *(f"{prefix}{name}_ml" for name in VOLUMES for prefix in ("", "given_")),
    *DICE,
    "defuse3",
    "given_defuse3",
    "infarct_ml",
)
"""Of a case's row; `given_` is of the given maps, and what has no such name of the computed maps or of both."""

THRESHOLDS_S = tuple(np.arange(2.0, 14.01, 0.5).tolist())
"""Of the computed Tmax, which the split halves choose from."""

Row = Mapping[str, Any]


def summarize_agreement(
    rows: Sequence[Row], threshold_dice: Sequence[Sequence[float]], seed: int = 0
) -> dict[str, Any]:
    """Summarize the cases of a data set.

    Args:
        rows: one for each case, with `COLUMNS`; NaN where a number is undefined, None where a decision is.
        threshold_dice: of each case, the Dice coefficient of the computed Tmax above each of `THRESHOLDS_S` with the
            delay of the given maps.
        seed: of the split into halves.

    Returns:
        `cases`; `volumes`, `dice` and `r` by name; `defuse3`; `split_half`. Undefined numbers are NaN.
    """
    return {
        "cases": len(rows),
        "r": {name: _quartiles(_finite(rows, f"{name}_r")) for name in MAPS},
        "volumes": {name: _volumes(rows, name) for name in VOLUMES},
        "dice": {name: _dice(rows, name) for name in DICE},
        "defuse3": _decisions(rows),
        "split_half": split_half(rows, threshold_dice, seed),
    }


def split_half(rows: Sequence[Row], threshold_dice: Sequence[Sequence[float]], seed: int = 0) -> list[dict[str, Any]]:
    """Choose the threshold of the computed Tmax on one half of the patients, and measure it on the other.

    The threshold is that with the highest mean Dice with the delay of the given maps, over the cases that have one; of
    equal ones the first.

    Args:
        rows: with `subject` (or else `case`), which stays in one half, and `given_delay_ml`.
        threshold_dice: see `summarize_agreement`.
        seed: of the random split.

    Returns:
        For each half that the threshold is chosen on: `threshold_s`, `chosen_on` and `tested_on` (cases), `dice` of the
        other half by it and `dice_at_6s`, both means. Empty if a half has no case with delay.
    """
    patients = [str(row.get("subject") or row["case"]) for row in rows]
    order = np.random.default_rng(seed).permutation(sorted(set(patients))).tolist()
    first = set(order[: len(order) // 2])
    delayed = [index for index, row in enumerate(rows) if row["given_delay_ml"] > 0]
    halves = [[index for index in delayed if (patients[index] in first) == is_first] for is_first in (True, False)]
    if not all(halves):
        return []
    dice = np.asarray(threshold_dice, dtype=float)
    found = []
    for chosen_on, tested_on in (halves, halves[::-1]):
        best = int(dice[chosen_on].mean(axis=0).argmax())
        found.append(
            {
                "threshold_s": THRESHOLDS_S[best],
                "chosen_on": len(chosen_on),
                "tested_on": len(tested_on),
                "dice": float(dice[tested_on, best].mean()),
                "dice_at_6s": float(dice[tested_on, THRESHOLDS_S.index(6.0)].mean()),
            }
        )
    return found


def _volumes(rows: Sequence[Row], name: str) -> dict[str, Any]:
    pairs = np.array([[row[f"{name}_ml"], row[f"given_{name}_ml"]] for row in rows], dtype=float).reshape(-1, 2)
    known = pairs[np.isfinite(pairs).all(axis=1)]
    computed, given = known.T
    means = known.mean(axis=0).tolist() if len(known) else [math.nan, math.nan]
    limits = limits_of_agreement(computed, given)._asdict()
    return {"n": len(known), "mean_ml": means[0], "given_mean_ml": means[1], **limits, "icc_a1": icc_a1(known)}


def _dice(rows: Sequence[Row], name: str) -> dict[str, Any]:
    values = _finite(rows, name)
    return {
        "n": len(values),
        "mean": float(values.mean()) if values.size else math.nan,
        "median": float(np.median(values)) if values.size else math.nan,
    }


def _quartiles(values: np.ndarray) -> dict[str, Any]:
    names = ("lower_quartile", "median", "upper_quartile")
    found = np.percentile(values, (25, 50, 75)).tolist() if values.size else [math.nan] * 3
    return {"n": len(values), **dict(zip(names, found, strict=True))}


def _decisions(rows: Sequence[Row]) -> dict[str, Any]:
    """Over the cases that both maps decide."""
    decided = [(row["defuse3"], row["given_defuse3"]) for row in rows]
    known = [pair for pair in decided if None not in pair]
    return {
        "n": len(known),
        "undecided": len(decided) - len(known),
        "both": known.count((True, True)),
        "computed_only": known.count((True, False)),
        "given_only": known.count((False, True)),
        "neither": known.count((False, False)),
        "kappa": cohen_kappa([pair[0] for pair in known], [pair[1] for pair in known]),
    }


def _finite(rows: Sequence[Row], name: str) -> np.ndarray:
    values = np.array([row[name] for row in rows], dtype=float)
    return values[np.isfinite(values)]
