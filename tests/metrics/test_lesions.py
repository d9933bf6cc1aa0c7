"""Lesion-wise scores against numbers of `panoptica` 2.1.7, which is not installed: it needs older numpy and pandas."""

import numpy as np
import pytest

from scripts.metrics.lesions import count_lesions
from tests.metrics.lesion_pairs import lesion_pair

# Seed of the pair; then n_ref_instances, n_pred_instances, tp and rq that Panoptica_Evaluator(InputType.SEMANTIC,
# ConnectedComponentsInstanceApproximator(), NaiveThresholdMatching()) gave, the evaluator of ISLES'24.
PANOPTICA = [
    (0, 3, 3, 1, 0.333333),
    (1, 4, 2, 1, 0.333333),
    (2, 3, 3, 1, 0.333333),
    (3, 3, 3, 2, 0.666667),
    (4, 2, 3, 0, 0.000000),
    (5, 3, 1, 0, 0.000000),
    (6, 2, 3, 0, 0.000000),
    (7, 3, 3, 1, 0.333333),
    (8, 3, 3, 1, 0.333333),
    (9, 2, 1, 0, 0.000000),
    (10, 3, 3, 0, 0.000000),
    (11, 4, 3, 2, 0.571429),
    (12, 2, 3, 1, 0.400000),
    (13, 2, 2, 2, 1.000000),
    (14, 3, 3, 1, 0.333333),
    (15, 4, 3, 3, 0.857143),
    (16, 3, 4, 2, 0.571429),
    (17, 1, 1, 1, 1.000000),
    (18, 2, 1, 0, 0.000000),
    (19, 1, 2, 1, 0.666667),
    (20, 2, 2, 2, 1.000000),
    (21, 3, 4, 2, 0.571429),
    (22, 2, 1, 0, 0.000000),
    (23, 1, 2, 0, 0.000000),
]


@pytest.mark.parametrize(("seed", "true", "predicted", "matched", "f1"), PANOPTICA)
def test_against_panoptica(seed: int, true: int, predicted: int, matched: int, f1: float) -> None:
    counts = count_lesions(*lesion_pair(seed))
    assert counts == (predicted, true, matched)
    assert counts.f1 == pytest.approx(f1, abs=1e-6)


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert count_lesions(mask, mask) == (2, 2, 2)


def test_half_of_the_union_is_enough_and_less_is_not() -> None:
    truth, half, less = (np.zeros((6, 1, 1), bool) for _ in range(3))
    truth[:4], half[:2], less[:1] = True, True, True
    assert count_lesions(half, truth).matched == 1
    assert count_lesions(less, truth).matched == 0


def test_parts_of_a_lesion_do_not_match_it() -> None:
    parts = np.zeros((3, 1, 1), bool)
    parts[0] = parts[2] = True
    assert count_lesions(parts, np.ones((3, 1, 1), bool)) == (2, 1, 0)


def test_without_lesions() -> None:
    empty = np.zeros((3, 3, 3), bool)
    assert count_lesions(empty, empty) == (0, 0, 0)
    assert np.isnan(count_lesions(empty, empty).f1)
    assert count_lesions(empty, ~empty).f1 == 0
