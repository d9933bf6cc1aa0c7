"""Whether rows differ in Dice, case by case, and whether they are in the papers' order."""

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


def differences(first: Cases, second: Cases) -> NDArray[np.float64]:
    """The differences in Dice of the cases, by their names, without those where it is not defined.

    Raises:
        ValueError: the cases are not the same ones.
    """
    ours, theirs = ({row["case"]: row["dice"] for row in rows} for rows in (first, second))
    if different := sorted(ours.keys() ^ theirs.keys()):
        raise ValueError(f"cases: expected the same ones in both rows, got {', '.join(different[:5])} in one alone")
    found = np.array([ours[case] - theirs[case] for case in sorted(ours)], dtype=float)
    return found[~np.isnan(found)]


def wilcoxon_p(first: Cases, second: Cases) -> float:
    """Two-sided p of the Wilcoxon signed-rank test over the cases; 1 where no case differs."""
    found = differences(first, second)
    return float(wilcoxon(found).pvalue) if found.any() else 1.0


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


def against(proposed: str, rows: Mapping[str, Cases]) -> dict[str, float]:
    """Holm-corrected p of each row against the proposed one, by name; empty where that is not among the rows."""
    others = [name for name in rows if name != proposed and proposed in rows]
    return dict(zip(others, holm([wilcoxon_p(rows[name], rows[proposed]) for name in others]), strict=True))


def orderings(published: Mapping[str, float], rows: Mapping[str, Cases]) -> list[Ordering]:
    """Every pair of rows that the paper ranks and that we have, the largest published difference first.

    Args:
        published: the paper's mean Dice of each row, in any unit.
        rows: our cases.
    """
    known = sorted((name for name in published if name in rows), key=lambda name: -published[name])
    pairs = [(a, b) for a, b in combinations(known, 2) if published[a] != published[b]]
    p_values = holm([wilcoxon_p(rows[a], rows[b]) for a, b in pairs])
    found = [
        Ordering(a, b, published[a] - published[b], float(differences(rows[a], rows[b]).mean()), p)
        for (a, b), p in zip(pairs, p_values, strict=True)
    ]
    return sorted(found, key=lambda pair: -pair.published)
