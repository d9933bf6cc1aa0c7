"""ICC, kappa, limits of agreement, Dice and r against published tables and independent implementations."""

import math

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import cohen_kappa_score, f1_score

from scripts.metrics.agreement import cohen_kappa, dice, icc_a1, limits_of_agreement, pearson_r

# Shrout and Fleiss, Psychol Bull 1979;86:420, Table 2: six targets, four judges. Table 4: ICC(2,1) = 0.29.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_icc_of_shrout_and_fleiss() -> None:
    assert round(icc_a1(SHROUT_FLEISS), 2) == 0.29
    # The mean squares of their Table 3: 11.24, 32.49 and 1.02.
    assert icc_a1(SHROUT_FLEISS) == pytest.approx(
        (11.24 - 1.02) / (11.24 + 3 * 1.02 + 4 / 6 * (32.49 - 1.02)), abs=1e-3
    )


def test_icc_of_pingouin() -> None:
    """Data set `icc` of pingouin 0.7.0 (eight wines, four judges): its ICC(A,1) is 0.727689, its ICC(C,1) 0.729487."""
    wines = [[1, 2, 0, 1], [1, 3, 3, 2], [3, 8, 1, 4], [6, 4, 3, 3], [6, 5, 5, 6], [7, 5, 6, 2], [8, 7, 7, 9]]
    assert icc_a1([*wines, [9, 9, 9, 8]]) == pytest.approx(0.727689, abs=5e-7)


@pytest.mark.parametrize("seed", range(5))
def test_icc_by_a_linear_model(seed: int) -> None:
    """The mean squares by least squares on indicator variables, in place of sums of squares."""
    generator = np.random.default_rng(seed)
    n, k = int(generator.integers(3, 12)), int(generator.integers(2, 5))
    ratings = generator.normal(0, 3, (n, 1)) + generator.normal(0, 1, (1, k)) + generator.normal(0, 1, (n, k))
    rows, columns = np.kron(np.eye(n), np.ones((k, 1))), np.kron(np.ones((n, 1)), np.eye(k))
    one, y = np.ones((n * k, 1)), ratings.reshape(-1)

    def left(*parts: np.ndarray) -> float:
        design = np.hstack(parts)
        return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())

    msr, msc = (left(one) - left(rows)) / (n - 1), (left(one) - left(columns)) / (k - 1)
    mse = left(rows, columns) / ((n - 1) * (k - 1))
    assert icc_a1(ratings) == pytest.approx((msr - mse) / (msr + (k - 1) * mse + k / n * (msc - mse)))


def test_icc_is_of_absolute_agreement() -> None:
    """Equal ratings give 1; a shift, which consistency would not see, gives 2 s^2 / (2 s^2 + shift^2)."""
    volumes = np.array([5.0, 20.0, 60.0, 110.0])
    assert icc_a1(np.column_stack([volumes, volumes])) == pytest.approx(1)
    variance = volumes.var(ddof=1)
    shifted = icc_a1(np.column_stack([volumes, volumes + 30]))
    assert shifted == pytest.approx(2 * variance / (2 * variance + 30**2))


def test_icc_is_undefined_without_spread_or_with_one_case() -> None:
    assert math.isnan(icc_a1([[3.1, 3.1], [3.1, 3.1]]))
    assert math.isnan(icc_a1([[3.0, 4.0]]))
    assert math.isnan(icc_a1(np.zeros((0, 2))))
    with pytest.raises(ValueError, match="two or more methods"):
        icc_a1([[1.0], [2.0]])
    with pytest.raises(ValueError, match="finite"):
        icc_a1([[1.0, math.nan], [2.0, 3.0]])


@pytest.mark.parametrize("seed", range(10))
def test_kappa_against_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 2 + seed % 2, 20)
    second = np.where(generator.random(20) < 0.7, first, generator.integers(0, 2, 20))
    assert cohen_kappa(first.tolist(), second.tolist()) == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_at_the_edges() -> None:
    assert cohen_kappa([True, False], [True, False]) == 1
    assert cohen_kappa([True, False], [False, True]) == -1
    assert cohen_kappa([True, True, True], [True, True, False]) == 0  # one constant method agrees by chance alone
    assert math.isnan(cohen_kappa([True, True], [True, True]))
    assert math.isnan(cohen_kappa([], []))
    with pytest.raises(ValueError, match="got 1 and 2"):
        cohen_kappa([True], [True, False])


def test_limits_of_agreement_of_a_known_scaling() -> None:
    given = np.array([10.0, 20.0, 30.0, 40.0])
    limits = limits_of_agreement(1.2 * given, given)
    assert limits.bias == pytest.approx(0.2 * 25)
    assert limits.upper - limits.bias == pytest.approx(1.96 * 0.2 * np.sqrt(500 / 3))
    assert limits.bias - limits.lower == pytest.approx(limits.upper - limits.bias)
    assert limits_of_agreement(given, given) == (0, 0, 0)
    assert limits_of_agreement([3.0], [1.0]).bias == 2
    assert math.isnan(limits_of_agreement([3.0], [1.0]).upper)
    assert math.isnan(limits_of_agreement([], []).bias)


def test_dice_and_r_against_scikit_learn_and_scipy() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 6, 5, 4)) < 0.4
    assert dice(first, second) == pytest.approx(f1_score(first.ravel(), second.ravel()))
    assert math.isnan(dice(first & ~first, first & ~first))
    assert dice(first, first & ~first) == 0
    a, b = generator.normal(size=(2, 50))
    assert pearson_r(a, b) == pytest.approx(pearsonr(a, b)[0])
    assert math.isnan(pearson_r(a, np.ones(50)))
    with pytest.raises(ValueError, match="one length"):
        pearson_r(a, b[:3])
