"""Agreement lesion by lesion, as ISLES'24 scores it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure
from scipy.ndimage import label as connected_components

MATCHING_IOU = 0.5


class LesionCounts(NamedTuple):
    """Lesions of a prediction and of the truth."""

    predicted: int
    true: int
    matched: int
    """Pairs of a predicted and a true lesion that are one."""

    @property
    def f1(self) -> float:
        """TP / (TP + FP / 2 + FN / 2); NaN without any lesion."""
        total = self.predicted + self.true
        return 2 * self.matched / total if total else float("nan")


def count_lesions(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> LesionCounts:
    """Count the lesions of two masks, and those that match.

    The definition of ISLES'24 (de la Rosa et al., 2024), whose evaluation calls `panoptica` (Kofler et al., 2023) with
    its defaults: lesions are connected components of 26 neighbors; a predicted and a true lesion match if the
    intersection of the two is at least half of their union. A lesion could reach this
    with two others only if these were its two halves, which would touch.

    Args:
        prediction: boolean (H, W, D).
        truth: boolean (H, W, D).
    """
    neighbors = generate_binary_structure(3, 3)
    (guesses, n_guesses), (truths, n_truths) = (connected_components(mask, neighbors) for mask in (prediction, truth))
    sizes = [np.bincount(labels.ravel()) for labels in (guesses, truths)]
    both = prediction & truth
    pairs, common = np.unique(np.stack([guesses[both], truths[both]], axis=1), axis=0, return_counts=True)
    matched: tuple[set[int], set[int]] = (set(), set())
    for (guess, true), overlap in zip(pairs.tolist(), common.tolist(), strict=True):
        union = sizes[0][guess] + sizes[1][true] - overlap
        if overlap >= MATCHING_IOU * union and guess not in matched[0] and true not in matched[1]:
            matched[0].add(guess)
            matched[1].add(true)
    return LesionCounts(n_guesses, n_truths, len(matched[0]))
