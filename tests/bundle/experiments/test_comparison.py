import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from bundle.experiments.comparison import against, differences, holm, orderings, wilcoxon_p


def cases(values, start=0):
    return [{"case": f"case_{start + i}", "dice": float(value)} for i, value in enumerate(values)]


def test_wilcoxon_of_five_cases_by_hand():
    # All five differences have one sign: 2 of the 2^5 equally likely assignments are as extreme.
    better, worse = cases([0.5, 0.6, 0.7, 0.8, 0.9]), cases([0.45, 0.5, 0.55, 0.6, 0.65])
    assert wilcoxon_p(better, worse) == pytest.approx(2 / 32)
    assert wilcoxon_p(worse, better) == pytest.approx(2 / 32)


def test_wilcoxon_is_that_of_scipy_and_pairs_by_name():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(size=20), rng.uniform(size=20)
    rows = cases(first), cases(second)[::-1]
    assert wilcoxon_p(*rows) == pytest.approx(wilcoxon(first, second).pvalue)


def test_equal_cases_do_not_differ():
    assert wilcoxon_p(cases([0.1, 0.0]), cases([0.1, 0.0])) == 1.0


def test_a_case_without_the_metric_is_left_out():
    found = differences(cases([0.1, np.nan, 0.3]), cases([0.2, 0.5, 0.75]))
    assert found.tolist() == pytest.approx([-0.1, -0.45])


def test_other_cases_are_refused():
    with pytest.raises(ValueError, match="same ones in both rows, got case_0, case_2 in one alone"):
        differences(cases([0.1, 0.2]), cases([0.1, 0.2], start=1))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values):
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1, len(p_values) * max(p_values))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


def test_rows_against_the_proposed_one():
    rng = np.random.default_rng(1)
    rows = {name: cases(rng.uniform(size=10)) for name in ("a", "b", "proposed")}
    expected = holm([wilcoxon_p(rows[name], rows["proposed"]) for name in "ab"])
    assert list(against("proposed", rows).values()) == expected
    assert against("missing", rows) == {}


def test_orderings_of_the_paper():
    published = {"worst": 40.0, "best": 60.0, "middle": 50.0, "not run": 10.0, "as good": 60.0}
    ours = {"worst": cases([0.5] * 6), "best": cases([0.6, 0.7, 0.8, 0.7, 0.6, 0.65]), "middle": cases([0.4] * 6)}
    found = orderings(published, ours | {"as good": cases([0.6] * 6)})
    pairs = {(pair.higher, pair.lower): pair for pair in found}
    assert ("best", "as good") not in pairs
    assert ("as good", "best") not in pairs
    assert len(pairs) == 5
    assert (found[0].lower, found[0].published) == ("worst", 20.0)
    assert pairs["best", "worst"].holds
    assert pairs["best", "worst"].ours == pytest.approx(4.05 / 6 - 0.5)
    assert not pairs["middle", "worst"].holds
    assert 0 < pairs["best", "worst"].p <= 1
