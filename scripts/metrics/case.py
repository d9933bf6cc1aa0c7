"""All metrics of one case."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from .segmentation import SEGMENTATION_METRICS, lesion_metrics
from .strata import size_stratum
from .synthesis import SYNTHESIS_METRICS, synthesis_metrics

METRICS = (*SEGMENTATION_METRICS, *SYNTHESIS_METRICS)


def case_metrics(
    prediction: ArrayLike,
    label: ArrayLike,
    spacing_mm: Sequence[float],
    *,
    pseudo_dwi: ArrayLike | None = None,
    dwi: ArrayLike | None = None,
) -> dict[str, Any]:
    """The size stratum, the metrics of the lesion and, if both images are given, those of the pseudo-DWI.

    Args:
        prediction: (H, W, D) lesion mask.
        label: (H, W, D) lesion mask.
        spacing_mm: distances between voxels.
        pseudo_dwi: (H, W, D), scaled as `dwi`.
        dwi: (H, W, D), scaled to (0, 1).

    Returns:
        `stratum` and the metrics of `scripts.metrics.lesion_metrics` and
        `scripts.metrics.synthesis_metrics`; the latter only for a case with DWI.
    """
    metrics = lesion_metrics(prediction, label, spacing_mm)
    row: dict[str, Any] = {"stratum": size_stratum(metrics["volume_ml"]), **metrics}
    if pseudo_dwi is not None and dwi is not None:
        row |= synthesis_metrics(pseudo_dwi, dwi, label)
    return row
