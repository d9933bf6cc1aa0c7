"""Agreement of a predicted lesion with the true one, in 3D, in mm and ml."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from monai.metrics.utils import get_mask_edges, get_surface_distance
from numpy.typing import ArrayLike, NDArray

from .lesions import count_lesions

SEGMENTATION_METRICS = (
    "dice",
    "precision",
    "recall",
    "hausdorff_mm",
    "assd_mm",
    "volume_ml",
    "predicted_volume_ml",
    "absolute_volume_error_ml",
    "relative_volume_error",
    "false_positive_ml",
    "lesion_count_difference",
    "lesion_f1",
)


@dataclass(frozen=True)
class EmptyMaskValues:
    """Values of the metrics for empty masks, for which the formulas are undefined.

    | metric | both are empty | only the label is (false positive) | only the prediction is (miss) |
    | --- | --- | --- | --- |
    | dice | 1 `agreement` | 0 (Eq. 16) | 0 (Eq. 16) |
    | precision | 1 `agreement` | 0 (TP / (TP + FP)) | 0 `undefined_ratio` |
    | recall | 1 `agreement` | 0 `undefined_ratio` | 0 (TP / (TP + FN)) |
    | hausdorff_mm, assd_mm | 0 | the image's diagonal | the image's diagonal |
    | relative_volume_error | 0 | 1 `relative_volume_error` | 1 (its formula) |
    | lesion_count_difference | 0 | the predicted lesions | the true lesions |
    | lesion_f1 | 1 `agreement` | 0 (its formula) | 0 (its formula) |

    The diagonal is the largest possible distance in the image: a missed lesion must not score better than a bad
    outline, and excluding such cases would reward a method that finds nothing. The means are finite, but comparable
    only for the same images. Means by lesion size and of lesion-free cases are therefore reported separately.

    Attributes:
        agreement: Dice, precision, recall and lesion-wise F1 if both masks are empty.
        undefined_ratio: precision of an empty prediction and recall of an empty label, if only one of the masks is
            empty.
        relative_volume_error: if only the label is empty.
        distance_mm: both distances if only one mask is empty; None for the diagonal of the image.
    """

    agreement: float = 1.0
    undefined_ratio: float = 0.0
    relative_volume_error: float = 1.0
    distance_mm: float | None = None


DEFAULT_EMPTY_MASK_VALUES = EmptyMaskValues()


def lesion_metrics(
    prediction: ArrayLike,
    label: ArrayLike,
    spacing_mm: Sequence[float],
    *,
    empty: EmptyMaskValues = DEFAULT_EMPTY_MASK_VALUES,
) -> dict[str, float]:
    """Compare a predicted lesion with the true one.

    Overlap (TP, FP, FN counted in voxels): Dice = 2 TP / (2 TP + FN + FP) (Eq. 16 of Wang 2020), precision
    TP / (TP + FP), recall TP / (TP + FN). Distances: Hausdorff distance (Eq. 17) and average symmetric surface distance
    (Eq. 18) in mm, between the surface voxels, which are those with a background voxel or the image's border among
    their six neighbors. Volumes in ml: V_g of the label, V_s of the prediction, |V_g - V_s|,
    RVE = |V_g - V_s| / V_g (section 4.2), and the volume of false positives. Lesions, as ISLES'24 counts them: the
    absolute difference of their numbers, and their F1 score (see `scripts.metrics.lesions.count_lesions`).

    Args:
        prediction: (H, W, D), boolean or 0 and 1.
        label: (H, W, D), boolean or 0 and 1.
        spacing_mm: distances between voxels along the three axes.
        empty: values for one or two empty masks.

    Returns:
        The metrics of `SEGMENTATION_METRICS`, all of them finite.

    Raises:
        ValueError: the shapes differ or are not 3D, or the spacing is not three positive numbers.

    Example:
        >>> import numpy as np
        >>> truth, guess = np.zeros((8, 8, 2), bool), np.zeros((8, 8, 2), bool)
        >>> truth[2:6, 2:6, 0], guess[3:6, 2:6, 0] = True, True
        >>> metrics = lesion_metrics(guess, truth, (1.0, 1.0, 5.0))
        >>> round(metrics["dice"], 3), metrics["hausdorff_mm"], metrics["volume_ml"]
        (0.857, 1.0, 0.08)
    """
    guess, truth = np.asarray(prediction).astype(bool), np.asarray(label).astype(bool)
    if guess.shape != truth.shape or truth.ndim != 3:
        raise ValueError(
            f"prediction, label: expected two masks (H, W, D) of one shape, got {guess.shape}, {truth.shape}"
        )
    spacing = np.asarray(spacing_mm, dtype=float)
    if spacing.shape != (3,) or not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(f"spacing_mm: expected three positive numbers, got {spacing_mm}")
    return {
        **_overlap(guess, truth, empty),
        **_distances(guess, truth, spacing, empty),
        **_volumes(guess, truth, float(spacing.prod()) / 1000, empty),
        **_lesions(guess, truth, empty),
    }


def _overlap(guess: NDArray[np.bool_], truth: NDArray[np.bool_], empty: EmptyMaskValues) -> dict[str, float]:
    true_positives, found, wanted = (int(np.count_nonzero(mask)) for mask in (guess & truth, guess, truth))
    if found == wanted == 0:
        return dict.fromkeys(("dice", "precision", "recall"), empty.agreement)
    return {
        "dice": 2 * true_positives / (found + wanted),
        "precision": true_positives / found if found else empty.undefined_ratio,
        "recall": true_positives / wanted if wanted else empty.undefined_ratio,
    }


def _distances(
    guess: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: NDArray[np.float64], empty: EmptyMaskValues
) -> dict[str, float]:
    if not (guess.any() and truth.any()):
        worst_mm = float(np.linalg.norm(truth.shape * spacing_mm)) if empty.distance_mm is None else empty.distance_mm
        return dict.fromkeys(("hausdorff_mm", "assd_mm"), worst_mm if guess.any() or truth.any() else 0.0)
    # What MONAI's Hausdorff and average surface distance are both made of, so that the distance maps are made once.
    edges = get_mask_edges(guess, truth)[:2]
    distances_mm = [get_surface_distance(a, b, spacing=spacing_mm.tolist()) for a, b in (edges, edges[::-1])]
    both_mm = np.concatenate(distances_mm, dtype=np.float64)
    return {"hausdorff_mm": float(both_mm.max()), "assd_mm": float(both_mm.mean())}


def _volumes(
    guess: NDArray[np.bool_], truth: NDArray[np.bool_], voxel_ml: float, empty: EmptyMaskValues
) -> dict[str, float]:
    volume_ml, predicted_ml = (float(np.count_nonzero(mask)) * voxel_ml for mask in (truth, guess))
    error_ml = abs(volume_ml - predicted_ml)
    if volume_ml:
        relative = error_ml / volume_ml
    else:
        relative = empty.relative_volume_error if predicted_ml else 0.0
    return {
        "volume_ml": volume_ml,
        "predicted_volume_ml": predicted_ml,
        "absolute_volume_error_ml": error_ml,
        "relative_volume_error": relative,
        "false_positive_ml": float(np.count_nonzero(guess & ~truth)) * voxel_ml,
    }


def _lesions(guess: NDArray[np.bool_], truth: NDArray[np.bool_], empty: EmptyMaskValues) -> dict[str, float]:
    counts = count_lesions(guess, truth)
    return {
        "lesion_count_difference": float(abs(counts.predicted - counts.true)),
        "lesion_f1": counts.f1 if counts.predicted or counts.true else empty.agreement,
    }
