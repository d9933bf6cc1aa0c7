"""Agreement of two methods that rate the same cases: volumes, decisions, masks and voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LIMITS_SD = 1.96


class Limits(NamedTuple):
    """Bias of the first method, and the range of 95 % of its differences from the second (Bland and Altman 1986)."""

    bias: float
    """Mean of first less second; NaN without a case."""
    lower: float
    """Bias less 1.96 standard deviations (n - 1) of the differences; NaN for fewer than two cases."""
    upper: float


def limits_of_agreement(first: ArrayLike, second: ArrayLike) -> Limits:
    """Bias and 95 % limits of agreement (Bland and Altman, Lancet 1986;327:307).

    Args:
        first: (n,) numbers.
        second: (n,) of the same cases.

    Example:
        >>> round(limits_of_agreement([10.0, 12.0, 14.0], [9.0, 10.0, 11.0]).upper, 2)
        3.96
    """
    differences = np.subtract(*_pairs(first, second))
    if not differences.size:
        return Limits(math.nan, math.nan, math.nan)
    bias = float(differences.mean())
    margin = _LIMITS_SD * float(differences.std(ddof=1)) if differences.size > 1 else math.nan
    return Limits(bias, bias - margin, bias + margin)


def icc_a1(ratings: ArrayLike) -> float:
    """Intraclass correlation ICC(A,1): two-way model, absolute agreement, single rating.

    (MSR - MSE) / (MSR + (k - 1) MSE + k / n (MSC - MSE)) by the mean squares of cases (rows), methods (columns) and
    rest (McGraw and Wong, Psychol Methods 1996;1:30); the estimate is also ICC(2,1) of Shrout and Fleiss 1979.

    Args:
        ratings: (n, k), cases by methods.

    Returns:
        At most 1; negative if methods differ more than cases. NaN for fewer than two cases or if all ratings are equal.

    Raises:
        ValueError: not a table of at least two methods, or not finite.
    """
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError(f"ratings: expected finite numbers, cases by two or more methods, got {table.shape}")
    n, k = table.shape
    if n < 2 or np.ptp(table) == 0:
        return math.nan
    mean, of_cases, of_methods = table.mean(), table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    cases = k * float(((of_cases - mean) ** 2).sum()) / (n - 1)
    methods = n * float(((of_methods - mean) ** 2).sum()) / (k - 1)
    rest = float(((table - of_cases - of_methods + mean) ** 2).sum()) / ((n - 1) * (k - 1))
    return (cases - rest) / (cases + (k - 1) * rest + k / n * (methods - rest))


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float:
    """Cohen's kappa, not weighted: agreement beyond chance, (p_o - p_e) / (1 - p_e) (Educ Psychol Meas 1960;20:37).

    Args:
        first: (n,) decisions.
        second: (n,) of the same cases.

    Returns:
        At most 1. NaN without a case, and where both methods give all cases one and the same answer.

    Example:
        >>> cohen_kappa([True, True, False, False], [True, True, False, True])
        0.5
    """
    if len(first) != len(second):
        raise ValueError(f"first, second: expected as many decisions, got {len(first)} and {len(second)}")
    n = len(first)
    if not n:
        return math.nan
    # Counts, not fractions: p_e of 1 is then exact.
    same = sum(a == b for a, b in zip(first, second, strict=True))
    chance = sum(list(first).count(answer) * list(second).count(answer) for answer in set(first) | set(second))
    return math.nan if chance == n * n else (n * same - chance) / (n * n - chance)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks of one shape; NaN if both are empty, as there is then no overlap to show."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else math.nan


def pearson_r(first: ArrayLike, second: ArrayLike) -> float:
    """Correlation of two series of numbers; NaN for fewer than two, or if one is constant."""
    a, b = _pairs(first, second)
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"first, second: expected two rows of numbers of one length, got {a.shape} and {b.shape}")
    return a, b
