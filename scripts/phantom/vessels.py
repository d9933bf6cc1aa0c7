"""Center lines of the large intracranial vessels in MNI space and their rasterized volume fractions.

The courses are schematic: they follow the usual anatomy (Osborn, Diagnostic Cerebral Angiography, 2nd ed. 1999) in
MNI152 coordinates (mm, RAS), and radii are typical luminal radii (Krabbe-Hartkamp et al., Radiology 207:103, 1998: ICA
2.3 mm, M1 1.4 mm, A1 1.2 mm, P1 1.1 mm, basilar 1.6 mm). Each lateral vessel is given for the right side and
mirrored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Centerline = tuple[float, list[tuple[float, float, float]]]

ARTERIES_RIGHT: list[Centerline] = [
    (2.2, [(22, 8, -48), (18, 4, -38), (14, 0, -28), (13, 4, -20), (15, 4, -14)]),  # internal carotid
    (1.5, [(15, 4, -14), (24, 4, -15), (33, 4, -13), (38, 4, -9)]),  # M1
    (
        1.2,
        [(38, 4, -9), (41, 8, 0), (41, 5, 10), (44, -2, 18), (52, -6, 24), (56, -8, 34), (54, -14, 44)],
    ),  # M2 superior
    (1.1, [(41, 8, 0), (42, 18, 6), (50, 22, 14), (50, 26, 24), (44, 30, 32)]),  # frontal branch
    (
        1.2,
        [(38, 4, -9), (42, -6, -6), (41, -18, 2), (44, -30, 10), (54, -36, 14), (58, -42, 24), (52, -54, 34)],
    ),  # M2 inf.
    (1.0, [(42, -6, -6), (52, -6, -14), (60, -12, -14), (62, -26, -6), (60, -44, -2)]),  # temporal branch
    (1.1, [(44, -30, 10), (50, -50, 12), (48, -64, 12), (42, -74, 14)]),  # angular branch
    (1.2, [(15, 4, -14), (8, 10, -16), (3, 18, -14)]),  # A1
    (1.2, [(3, 18, -14), (3, 34, -6), (3, 40, 6), (3, 36, 18), (3, 20, 28), (4, -4, 34), (4, -26, 38)]),  # A2-A3
    (1.0, [(3, 36, 18), (4, 48, 26), (5, 40, 42), (6, 22, 54)]),  # callosomarginal
    (
        1.2,
        [(3, -16, -16), (14, -18, -16), (20, -28, -10), (16, -42, -2), (13, -58, 4), (12, -74, 8), (12, -88, 10)],
    ),  # PCA
    (0.9, [(20, -28, -10), (30, -44, -14), (34, -60, -10)]),  # temporo-occipital branch
]
ARTERIES_MEDIAN: list[Centerline] = [(1.8, [(0, -20, -50), (0, -22, -36), (0, -18, -22), (0, -16, -16)])]  # basilar
VEINS_RIGHT: list[Centerline] = [
    (
        3.2,
        [(4, -96, -12), (20, -92, -18), (40, -78, -22), (54, -58, -26), (56, -44, -30), (46, -36, -44)],
    ),  # transverse
    (1.1, [(2, 4, 12), (2, -10, 13), (2, -24, 11), (1, -38, 4)]),  # internal cerebral vein
    (1.2, [(30, 18, 58), (18, 12, 66), (4, 4, 72)]),  # cortical bridging veins
    (1.3, [(44, -22, 58), (24, -34, 70), (4, -44, 68)]),  # Trolard
    (1.1, [(22, 52, 36), (12, 50, 44), (3, 42, 52)]),
    (1.1, [(34, -68, 44), (18, -76, 46), (3, -80, 42)]),
    (1.2, [(34, 12, -14), (46, 6, -6), (54, 0, 2)]),  # superficial Sylvian vein
]
VEINS_MEDIAN: list[Centerline] = [
    (2.6, [(0, 66, 0), (0, 68, 16), (0, 58, 36), (0, 40, 52), (0, 20, 64)]),  # superior sagittal sinus, front
    (3.4, [(0, 20, 64), (0, -5, 74), (0, -35, 74), (0, -62, 62), (0, -82, 42), (0, -97, 18), (0, -98, -8)]),  # and back
    (2.4, [(1, -38, 4), (0, -52, 8), (0, -68, 0), (0, -84, -8), (0, -96, -10)]),  # vein of Galen, straight sinus
]


def both_sides(right: list[Centerline], median: list[Centerline]) -> list[Centerline]:
    """Return the median vessels, the right ones and the right ones mirrored to the left."""
    left = [(radius, [(-x, y, z) for x, y, z in line]) for radius, line in right]
    return [*median, *right, *left]


def _densify(points: NDArray[np.float64], step_mm: float = 0.6) -> NDArray[np.float64]:
    """Insert points along a polyline, smoothed into a curve by Catmull-Rom interpolation."""
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    pieces = []
    for p0, p1, p2, p3 in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        t = np.linspace(0.0, 1.0, max(2, int(np.linalg.norm(p2 - p1) / step_mm)), endpoint=False)[:, None]
        pieces.append(
            0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
        )
    return np.vstack(pieces)


def rasterize(
    lines: list[Centerline], shape: tuple[int, int, int], origin_mm: NDArray[np.float64], reach_mm: int = 6
) -> NDArray[np.float32]:
    """Volume fraction of tubes on a 1 mm RAS grid.

    The fraction of a voxel at distance ``d`` from a center line of radius ``r`` is ``clip(r - d + 0.5, 0, 1)``, the
    partial volume of a plane boundary.

    Args:
        lines: (radius_mm, center points in MNI mm) of each vessel.
        shape: grid size.
        origin_mm: MNI position of the first voxel.
        reach_mm: half width of the neighborhood painted around each center point; above the largest radius.

    Returns:
        float32 array of ``shape`` in [0, 1].
    """
    fraction = np.zeros(shape, dtype=np.float32)
    steps = np.arange(-reach_mm, reach_mm + 1)
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    for radius_mm, points in lines:
        centers = _densify(np.array(points, dtype=float)) - origin_mm
        voxels = np.rint(centers)[:, None, :].astype(int) + offsets
        distance = np.linalg.norm(voxels - centers[:, None, :], axis=-1)
        value = np.clip(radius_mm - distance + 0.5, 0.0, 1.0).astype(np.float32)
        inside = ((voxels >= 0) & (voxels < np.array(shape))).all(axis=-1) & (value > 0)
        np.maximum.at(fraction, tuple(voxels[inside].T), value[inside])
    return fraction
