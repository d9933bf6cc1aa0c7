import itertools
import warnings
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.io import k_folds, split_cases


def cohort(sizes: Sequence[int]) -> list[dict[str, str]]:
    """One subject for each number of scans, its scans not side by side."""
    scans = [(f"s{subject}", scan) for subject, size in enumerate(sizes) for scan in range(size)]
    scans.sort(key=lambda pair: pair[1])
    return [{"case": f"case_{i}", "subject": subject} for i, (subject, _) in enumerate(scans)]


ISLES = [2] * 31 + [1] * 32  # 94 scans of 63 patients


def test_the_papers_counts_are_met() -> None:
    for seed in range(20):
        split = split_cases(cohort(ISLES), seed=seed)
        assert [len(split[name]) for name in ("training", "validation", "testing")] == [65, 6, 23]


def test_seeds_differ_and_each_is_reproducible() -> None:
    cases = cohort(ISLES)
    splits = [split_cases(cases, seed=seed) for seed in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_sections_are_drawn_without_favour() -> None:
    """Every subject is tested about as often as any other: 23 of 94 scans on average."""
    cases = cohort(ISLES)
    tested = dict.fromkeys((case["case"] for case in cases), 0)
    for seed in range(200):
        for case in split_cases(cases, seed=seed)["testing"]:
            tested[case["case"]] += 1
    share = [count / 200 for count in tested.values()]
    assert sum(share) == pytest.approx(23)
    assert min(share) > 0.1
    assert max(share) < 0.4


def test_counts_are_scaled_to_the_cohort() -> None:
    split = split_cases(cohort([1] * 188))
    assert [len(cases) for cases in split.values()] == [130, 12, 46]
    assert [len(cases) for cases in split_cases(cohort([1] * 3)).values()] == [1, 1, 1]
    assert [len(cases) for cases in split_cases(cohort([1]), (1, 1, 1)).values()] == [1, 0, 0]
    assert [len(cases) for cases in split_cases(cohort([1] * 10), (1, 0, 1)).values()] == [5, 0, 5]


def test_counts_that_subjects_do_not_allow_are_missed_as_little_as_possible() -> None:
    with pytest.warns(UserWarning, match=r"expected \[4, 1, 4\] .* got \[3, 3, 3\]"):
        split = split_cases(cohort([3, 3, 3]), (4, 1, 4))
    assert [len(cases) for cases in split.values()] == [3, 3, 3]


@pytest.mark.parametrize("counts", [(1, 2), (0, 0, 0), (1, -1, 2), (1, 2, 3, 4)])
def test_bad_counts(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="counts: expected 3 numbers"):
        split_cases(cohort([1, 1]), counts)


def test_no_cases() -> None:
    with pytest.raises(ValueError, match="cases: expected at least one"):
        split_cases([])
    with pytest.raises(ValueError, match="cases: expected cases with 'subject', 'case' or 'image'"):
        split_cases([{"label": "x.nii"}])


def test_without_subject_every_case_is_its_own() -> None:
    assert [len(fold) for fold in k_folds([{"image": f"{i}.nii"} for i in range(7)], 3)] == [3, 2, 2]


sizes_lists = st.lists(st.integers(1, 4), min_size=1, max_size=9)
counts_lists = st.tuples(*[st.integers(0, 8)] * 3).filter(any)


@settings(deadline=None)
@given(sizes=sizes_lists, counts=counts_lists, seed=st.integers(0, 1000))
def test_no_subject_is_in_two_sections_and_no_case_is_lost(
    sizes: list[int], counts: tuple[int, ...], seed: int
) -> None:
    cases = cohort(sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        split = split_cases(cases, counts, seed)
    assert sorted(c["case"] for part in split.values() for c in part) == sorted(c["case"] for c in cases)
    subjects = [{c["subject"] for c in part} for part in split.values()]
    assert all(not (a & b) for a, b in itertools.combinations(subjects, 2))
    for part in split.values():
        assert part == [case for case in cases if case in part]  # the order in which they came


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=7), places=st.data())
def test_counts_are_met_whenever_they_can_be(sizes: list[int], places: st.DataObject) -> None:
    """Counts made from an arbitrary assignment can be met, so they must be, without a warning."""
    counts = [0, 0, 0]
    for size in sizes:
        counts[places.draw(st.integers(0, 2))] += size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = split_cases(cohort(sizes), counts)
    assert [len(part) for part in split.values()] == counts


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=20), seed=st.integers(0, 1000), data=st.data())
def test_folds(sizes: list[int], seed: int, data: st.DataObject) -> None:
    cases = cohort(sizes)
    folds = k_folds(cases, data.draw(st.integers(2, len(sizes))), seed)
    assert sorted(c["case"] for fold in folds for c in fold) == sorted(c["case"] for c in cases)
    subjects = [{c["subject"] for c in fold} for fold in folds]
    assert all(a and b and not (a & b) for a, b in itertools.combinations(subjects, 2))
    lengths = [len(fold) for fold in folds]
    assert max(lengths) - min(lengths) <= max(sizes)
    assert folds == k_folds(cases, len(folds), seed)


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_bad_number_of_folds(folds: int) -> None:
    with pytest.raises(ValueError, match=rf"folds: expected 2 to 3 \(the number of subjects\), got {folds}"):
        k_folds(cohort([1, 2, 1]), folds)
