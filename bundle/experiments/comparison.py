"""Whether rows differ, case by case, and whether they are in the papers' order."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

Cases = Sequence[Mapping[str, Any]]


class Ordering(NamedTuple):
    """Two rows that a paper ranks.

    Attributes:
        higher: name of the row with the higher published Dice.
        lower: name of the other.
        published: the published difference of the means, positive.
        ours: the difference of our means.
        p: of the paired Wilcoxon test of our cases, Holm-corrected over all pairs of the table.
    """

    higher: str
    lower: str
    published: float
    ours: float
    p: float

    @property
    def holds(self) -> bool:
        """Whether ours has the same sign."""
        return self.ours > 0


def paired(first: Cases, second: Cases, metric: str = "dice") -> tuple[NDArray, NDArray]:
    """The values of a metric in the cases that both have, in one order, without those where it is not defined.

    Raises:
        ValueError: the cases are not the same ones.
    """
    values = [{row["case"]: row[metric] for row in rows} for rows in (first, second)]
    if values[0].keys() != values[1].keys():
        different = sorted(values[0].keys() ^ values[1].keys())
        raise ValueError(f"cases: expected the same ones in both rows, got {', '.join(different[:5])} in one alone")
    pairs = np.array([[value[case] for value in values] for case in sorted(values[0])]).reshape(-1, 2)
    first_values, second_values = pairs[~np.isnan(pairs).any(axis=1)].T
    return first_values, second_values


def wilcoxon_p(first: Cases, second: Cases, metric: str = "dice") -> float:
    """Two-sided p of the Wilcoxon signed-rank test over the cases; 1 where no case differs."""
    differences = np.subtract(*paired(first, second, metric))
    return float(wilcoxon(differences).pvalue) if np.any(differences != 0) else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979), in the order of the input.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return corrected.tolist()


def against(proposed: str, rows: Mapping[str, Cases], metric: str = "dice") -> dict[str, float]:
    """Holm-corrected p of each row against the proposed one, by name; empty where that is not among the rows."""
    others = [name for name in rows if name != proposed and proposed in rows]
    return dict(zip(others, holm([wilcoxon_p(rows[name], rows[proposed], metric) for name in others]), strict=True))


def orderings(published: Mapping[str, float], rows: Mapping[str, Cases], metric: str = "dice") -> list[Ordering]:
    """Every pair of rows that the paper ranks and that we have, the largest published difference first.

    Args:
        published: the paper's mean of each row, in any unit.
        rows: our cases.
        metric: one of which more is better.
    """
    known = [name for name in published if name in rows]
    pairs = [
        (a, b) if published[a] > published[b] else (b, a)
        for a, b in combinations(known, 2)
        if published[a] != published[b]
    ]
    pairs.sort(key=lambda pair: published[pair[1]] - published[pair[0]])
    differences = [np.subtract(*paired(rows[a], rows[b], metric)).mean() for a, b in pairs]
    p_values = holm([wilcoxon_p(rows[a], rows[b], metric) for a, b in pairs])
    return [
        Ordering(a, b, published[a] - published[b], float(ours), p)
        for (a, b), ours, p in zip(pairs, differences, p_values, strict=True)
    ]
