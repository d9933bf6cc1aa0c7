"""Vascular territories of the brain as soft, perturbed Voronoi regions around anchor points in MNI space.

The layout follows the maps of arterial territories of Tatu et al. (Neurology 50:1699, 1998) and the digital atlas of
Liu et al. (Scientific Data 10:74, 2023): the anterior cerebral artery (ACA) supplies the medial frontoparietal
surface, the middle (MCA) the lateral convexity, its perforators the basal ganglia, the posterior (PCA) the occipital
and inferior temporal lobe and the thalamus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

ANCHORS_RIGHT: dict[str, list[tuple[float, float, float]]] = {
    "aca": [
        *[(6, 55, 0), (7, 50, 15), (8, 40, 35), (8, 22, 52), (8, 0, 62), (8, -20, 64), (8, -38, 58)],
        *[(8, 30, 0), (8, 10, 40), (9, -18, 44), (14, 58, 10), (14, 44, 42), (12, 35, -18)],
    ],
    "mca_superior": [
        *[(45, 32, 8), (48, 15, 18), (40, 36, 25), (50, 0, 34), (50, -15, 45), (44, 10, 45), (36, 24, 42)],
        *[
            (52, -24, 34),
            (36, 48, 8),
            (37, 8, 2),
            (27, 0, 32),
            (26, -20, 34),
            (30, 26, 18),
            (34, -30, 56),
            (34, 34, -12),
        ],
    ],
    "mca_inferior": [
        *[(55, -8, -12), (58, -28, 0), (55, -45, 14), (50, -54, 30), (46, 8, -26), (60, -18, 8), (46, -62, 14)],
        *[(42, -44, 44), (39, -14, 4), (34, -38, 24), (36, -62, 36), (42, -26, -8)],
    ],
    "lenticulostriate": [(25, 5, 0), (20, 0, 8), (28, -8, 4), (17, 12, 10), (24, -14, 16), (20, 16, -4)],
    "pca": [
        *[(12, -75, 5), (10, -90, 5), (15, -60, -5), (26, -78, -5), (30, -50, -16), (30, -28, -24), (20, -92, 0)],
        *[(14, -72, 24), (24, -40, -6), (22, -84, 18), (9, -58, 18)],
    ],
    "thalamic": [(9, -16, 8), (12, -26, 4), (8, -10, 2), (14, -20, 12)],
}


def _mirrored(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points * np.array([-1.0, 1.0, 1.0])


def _nearest_mm(points_mm: NDArray[np.floating], anchors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance of each of (N, 3) points to the nearest of (M, 3) anchors, (N,)."""
    return cKDTree(anchors).query(points_mm)[0].astype(np.float32)


def territory_margin_mm(points_mm: NDArray[np.floating], names: tuple[str, ...], side: str) -> NDArray[np.float32]:
    """Distance of points to the border of a set of territories, positive inside.

    Args:
        points_mm: (N, 3) MNI positions.
        names: keys of `ANCHORS_RIGHT` that together make the region.
        side: "right" or "left".

    Returns:
        (N,) half of (distance to the nearest anchor outside the set - distance to the nearest inside): positive inside,
        zero on the border, about the distance to the border in mm.

    Raises:
        ValueError: for an unknown territory or side.
    """
    unknown = sorted(set(names) - set(ANCHORS_RIGHT))
    if unknown or side not in ("right", "left"):
        raise ValueError(
            f"expected territories of {sorted(ANCHORS_RIGHT)} and side right|left, got {names} and {side!r}"
        )
    own_side = {name: np.array(anchors, dtype=float) for name, anchors in ANCHORS_RIGHT.items()}
    if side == "left":
        own_side = {name: _mirrored(anchors) for name, anchors in own_side.items()}
    inside = np.vstack([own_side[name] for name in names])
    outside = np.vstack(
        [anchors for name, anchors in own_side.items() if name not in names]
        + [_mirrored(anchors) for anchors in own_side.values()]
    )
    return 0.5 * (_nearest_mm(points_mm, outside) - _nearest_mm(points_mm, inside))
