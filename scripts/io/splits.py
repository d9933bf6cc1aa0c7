"""Splitting cases into sections and folds without ever parting the scans of one subject."""

import warnings
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .datalist import SECTIONS

PAPER_COUNTS = (65, 6, 23)
"""Scans for training, validation and testing, of the 94 of ISLES 2018 (Wang 2020, section 4.2)."""

MAX_CELLS = 4 << 30
"""Bytes of the table of a split: some six thousand subjects in the paper's proportions (a choice)."""

Case = Mapping[str, Any]


def subject_of(case: Case) -> Hashable:
    """What a split holds together: the case's `subject`; else the case is its own (its name, or its series)."""
    for key in ("subject", "case", "image"):
        if case.get(key) is not None:
            return key, str(case[key])
    raise ValueError(f"cases: expected cases with 'subject', 'case' or 'image', got one with the keys {sorted(case)}")


def split_cases(
    cases: Sequence[Case], counts: Sequence[int] = PAPER_COUNTS, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Split cases into training, validation and testing, by subject.

    Where the number of cases is not the sum of `counts`, the counts are scaled to it. They are met exactly whenever
    the subjects' numbers of scans allow it; otherwise the nearest possible split is made and a warning states it.

    Args:
        cases: case dictionaries; those with the same `subject` stay together.
        counts: number of cases in each section.
        seed: of the shuffling; the same seed gives the same split.

    Returns:
        The cases of each section, in the order in which they came.

    Raises:
        ValueError: there are no cases, or `counts` are not three numbers, at least one above zero and none below.
    """
    if len(counts) != len(SECTIONS) or min(counts) < 0 or sum(counts) == 0:
        raise ValueError(f"counts: expected {len(SECTIONS)} numbers of cases, not all zero, got {tuple(counts)}")
    if not cases:
        raise ValueError("cases: expected at least one case, got none")
    groups = _group_by_subject(cases)
    wanted = scale_counts(counts, len(cases))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(groups))
    sizes = np.array([len(groups[i]) for i in order])
    sections = _assign(sizes, wanted, rng)
    members: list[list[int]] = [[] for _ in SECTIONS]
    for group, section in zip(order, sections, strict=True):
        members[section] += groups[group]
    result = {name: [dict(cases[i]) for i in sorted(indices)] for name, indices in zip(SECTIONS, members, strict=True)}
    reached = [len(chosen) for chosen in result.values()]
    if reached != wanted:
        warnings.warn(
            f"split: expected {wanted} cases in {list(SECTIONS)}, got {reached}, the nearest without parting a subject",
            stacklevel=2,
        )
    return result


def k_folds(cases: Sequence[Case], folds: int, seed: int = 0) -> list[list[dict[str, Any]]]:
    """Divide cases into folds of about equal size, by subject.

    The subjects are shuffled, and dealt out from the one with most scans to the one with fewest, each to the fold that
    has the fewest cases; so two folds differ by at most the largest number of scans of one subject.

    Args:
        cases: case dictionaries; those with the same `subject` stay together.
        folds: number of folds, at least 2 and at most the number of subjects.
        seed: of the shuffling.

    Raises:
        ValueError: `folds` is out of range.
    """
    groups = _group_by_subject(cases)
    if not 2 <= folds <= len(groups):
        raise ValueError(f"folds: expected 2 to {len(groups)} (the number of subjects), got {folds}")
    order = np.random.default_rng(seed).permutation(len(groups))
    members: list[list[int]] = [[] for _ in range(folds)]
    for index in sorted(order, key=lambda i: -len(groups[i])):
        min(members, key=len).extend(groups[index])
    return [[dict(cases[i]) for i in sorted(fold)] for fold in members]


def scale_counts(counts: Sequence[int], total: int) -> list[int]:
    """Counts in the same proportions that sum to `total`.

    Largest remainders; where there are enough cases, every section that is wanted gets one at least.

    Args:
        counts: not negative, and not all zero.
        total: the sum of the result.
    """
    exact = np.array(counts) * total / sum(counts)
    scaled = np.floor(exact).astype(int)
    remainders = np.argsort(-(exact - scaled), kind="stable")
    scaled[remainders[: total - scaled.sum()]] += 1
    for empty in np.flatnonzero((scaled == 0) & (np.array(counts) > 0)):
        if scaled.max() > 1:
            scaled[scaled.argmax()] -= 1
            scaled[empty] += 1
    return scaled.tolist()


def _group_by_subject(cases: Sequence[Case]) -> list[list[int]]:
    """The indices of each subject's cases."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        groups[subject_of(case)].append(index)
    return list(groups.values())


def _assign(sizes: NDArray[np.int_], wanted: Sequence[int], rng: np.random.Generator) -> list[int]:
    """A section (0, 1, 2) for each subject, such that the sections' sums of `sizes` are the nearest to `wanted`.

    A two-dimensional subset sum over the two smaller sections; the largest takes the rest. `reach[i]` holds which sums
    (a, b) the subjects from i on can make, so that every step can be taken at random among those that still succeed.
    """
    rest, *small = sorted(range(3), key=lambda s: -wanted[s])
    limits = [max(wanted[s], 1) + int(sizes.max()) for s in small]
    if (cells := (len(sizes) + 1) * (limits[0] + 1) * (limits[1] + 1)) > MAX_CELLS:
        raise ValueError(
            f"cases: expected few enough to split exactly, got {sum(sizes)}, for which {cells} sums are kept"
        )
    reach = np.zeros((len(sizes) + 1, limits[0] + 1, limits[1] + 1), dtype=bool)
    reach[-1, 0, 0] = True
    for i in range(len(sizes) - 1, -1, -1):
        reach[i] = reach[i + 1]
        reach[i, sizes[i] :] |= reach[i + 1, : -sizes[i]]
        reach[i, :, sizes[i] :] |= reach[i + 1, :, : -sizes[i]]
    total_left = int(sizes.sum())
    left = _nearest_sums(reach[0], [wanted[s] for s in small], total_left)
    sections = []
    for i, size in enumerate(sizes):
        options = [(rest, left)]
        options += [(small[k], [left[0] - size * (k == 0), left[1] - size * (k == 1)]) for k in (0, 1)]
        feasible = [(s, after) for s, after in options if min(after) >= 0 and reach[i + 1][tuple(after)]]
        needs = np.array([total_left - sum(left) if s == rest else left[small.index(s)] for s, _ in feasible], float)
        section, left = feasible[rng.choice(len(feasible), p=needs / needs.sum())]
        total_left -= size
        sections.append(section)
    return sections


def _nearest_sums(reachable: NDArray[np.bool_], wanted: Sequence[int], total: int) -> list[int]:
    """The reachable pair of sums with the smallest sum of the three sections' deviations from what is wanted.

    An empty section that should have cases counts as worse than any deviation: training cannot run without validation.
    """
    pairs = np.argwhere(reachable)
    sums = np.column_stack([pairs, total - pairs.sum(axis=1)])
    target = np.array([*wanted, total - sum(wanted)])
    deviation = np.abs(sums - target).sum(axis=1) + 2 * total * ((sums == 0) & (target > 0)).sum(axis=1)
    return pairs[deviation.argmin()].tolist()
