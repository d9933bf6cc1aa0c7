"""Means by lesion size, as Fig. 10 of Wang 2020 groups the cases, and of the cases without lesion."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

SMALL_ML, LARGE_ML = 10.0, 50.0

ALL = "all"
LESION_FREE = "no lesion"
STRATA = (ALL, "small (< 10 ml)", "medium (10-50 ml)", "large (> 50 ml)", LESION_FREE)


def size_stratum(volume_ml: float) -> str:
    """The group of a case by the volume of its true lesion.

    Raises:
        ValueError: the volume is negative or not a number.
    """
    if not volume_ml >= 0:
        raise ValueError(f"volume_ml: expected a volume, got {volume_ml}")
    _, small, medium, large, free = STRATA
    if volume_ml == 0:
        return free
    if volume_ml < SMALL_ML:
        return small
    return medium if volume_ml <= LARGE_ML else large


def summarise(
    rows: Sequence[Mapping[str, Any]], metrics: Iterable[str] | None = None
) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Mean and standard deviation of each metric over all cases and by stratum, leaving out NaN and missing values.

    Args:
        rows: one for each case, with `volume_ml` (of the true lesion) and the metrics.
        metrics: names of the metrics; default: every number in the rows.

    Returns:
        `result[stratum][metric]` is a dictionary of `mean`, `sd` (of the sample, with n - 1) and `n`, the number of
        cases that count. `mean` is None where n is 0, and `sd` where it is less than 2. Empty strata are there too.
    """
    names = list(metrics) if metrics is not None else _numbers_in(rows)
    groups: dict[str, list[Mapping[str, Any]]] = {stratum: [] for stratum in STRATA}
    for row in rows:
        groups[ALL].append(row)
        groups[size_stratum(row["volume_ml"])].append(row)
    return {
        stratum: {name: _mean_and_sd([row.get(name) for row in members]) for name in names}
        for stratum, members in groups.items()
    }


def _numbers_in(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that hold numbers, in the order of their first appearance."""
    names = {key: None for row in rows for key, value in row.items() if isinstance(value, (int, float))}
    return list(names)


def _mean_and_sd(values: Sequence[float | None]) -> dict[str, float | int | None]:
    numbers = np.array([value for value in values if value is not None], dtype=float)
    numbers = numbers[~np.isnan(numbers)]
    return {
        "mean": float(numbers.mean()) if numbers.size else None,
        "sd": float(numbers.std(ddof=1)) if numbers.size > 1 else None,
        "n": int(numbers.size),
    }
