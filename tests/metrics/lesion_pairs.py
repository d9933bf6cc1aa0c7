"""Random pairs of masks with several lesions, the same for every version of numpy's generator with this seed."""

import numpy as np
from numpy.typing import NDArray

SHAPE = (14, 13, 5)


def lesion_pair(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Prediction and truth: boxes that are shifted, cut, left out and invented; some touch at edges or corners only."""
    generator = np.random.RandomState(seed)  # whose stream is frozen
    guess, truth = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for _ in range(6):
        corner = [generator.randint(0, size - 4) for size in SHAPE]
        extent = generator.randint(1, 5, 3)
        shift = generator.randint(-1, 2, 3) * (generator.rand(3) < 0.3)
        in_truth, in_guess = generator.rand(2) < 0.75
        truth[tuple(slice(c, c + e) for c, e in zip(corner, extent, strict=True))] |= in_truth
        moved = [max(0, c + s) for c, s in zip(corner, shift, strict=True)]
        guess[tuple(slice(c, c + e) for c, e in zip(moved, extent, strict=True))] |= in_guess
    return guess, truth
