"""Means by lesion size, grouped as in Fig. 10 of Wang 2020, and of the cases without a lesion."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

SMALL_ML, LARGE_ML = 10.0, 50.0

ALL = "all"
ANY_LESION = "any lesion"
SMALL, MEDIUM, LARGE = "small (< 10 ml)", "medium (10-50 ml)", "large (> 50 ml)"
LESION_FREE = "no lesion"
#: All cases; those with a lesion; these by its size; those without.
STRATA = (ALL, ANY_LESION, SMALL, MEDIUM, LARGE, LESION_FREE)


def size_stratum(volume_ml: float) -> str:
    """The group of a case by the volume of its true lesion: `SMALL`, `MEDIUM`, `LARGE` or `LESION_FREE`.

    Raises:
        ValueError: the volume is negative or not a number.
    """
    if not volume_ml >= 0:
        raise ValueError(f"volume_ml: expected a volume, got {volume_ml}")
    if volume_ml == 0:
        return LESION_FREE
    if volume_ml < SMALL_ML:
        return SMALL
    return MEDIUM if volume_ml <= LARGE_ML else LARGE


def summarize(
    rows: Sequence[Mapping[str, Any]], metrics: Iterable[str] | None = None
) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Mean and standard deviation of each metric over all cases and by stratum, leaving out NaN and missing values.

    Args:
        rows: one for each case, with `volume_ml` (of the true lesion) and the metrics.
        metrics: names of the metrics; default: every number in the rows.

    Returns:
        `result[stratum][metric]` is a dictionary of `mean`, `sd` (sample standard deviation, n - 1) and `n`, the number
        of values. `mean` is None for n = 0, and `sd` for n < 2. Empty strata are included.
    """
    names = list(metrics) if metrics is not None else _numbers_in(rows)
    groups = by_stratum(rows)
    return {
        stratum: {name: _mean_and_sd([row.get(name) for row in members]) for name in names}
        for stratum, members in groups.items()
    }


def by_stratum(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each of `STRATA`; each row is in two or three of them."""
    groups: dict[str, list[Mapping[str, Any]]] = {stratum: [] for stratum in STRATA}
    for row in rows:
        stratum = size_stratum(row["volume_ml"])
        for group in (ALL, stratum) if stratum == LESION_FREE else (ALL, ANY_LESION, stratum):
            groups[group].append(row)
    return groups


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
