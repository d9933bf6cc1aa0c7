import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy.spatial.distance import cdist, directed_hausdorff

from scripts.metrics import EmptyMaskValues, lesion_metrics
from scripts.metrics.segmentation import SEGMENTATION_METRICS

SPACING_MM = (0.9, 0.8, 8.0)


def surface_points_mm(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """The voxels with a background voxel, or nothing, among their six neighbors; looked up one by one."""
    points = []
    for voxel in np.argwhere(mask):
        for step in np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)]):
            neighbor = voxel + step
            if (neighbor < 0).any() or (neighbor >= mask.shape).any() or not mask[tuple(neighbor)]:
                points.append(voxel)
                break
    return np.array(points) * spacing_mm


def random_masks(seed: int, shape: tuple[int, ...] = (9, 8, 3)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    density = rng.uniform(0.02, 0.7, 2)
    first, second = (rng.random(shape) < d for d in density)
    first.flat[rng.integers(first.size)] = second.flat[rng.integers(second.size)] = True
    return first, second


@pytest.mark.parametrize("seed", range(30))
def test_distances_against_brute_force(seed: int) -> None:
    guess, truth = random_masks(seed)
    metrics = lesion_metrics(guess, truth, SPACING_MM)
    s, g = (surface_points_mm(mask, SPACING_MM) for mask in (guess, truth))
    distances = cdist(s, g)
    expected_assd = (distances.min(1).sum() + distances.min(0).sum()) / (len(s) + len(g))  # Eq. 18
    assert metrics["assd_mm"] == pytest.approx(expected_assd, rel=1e-5)
    assert metrics["hausdorff_mm"] == pytest.approx(max(directed_hausdorff(s, g)[0], directed_hausdorff(g, s)[0]), 1e-5)


@pytest.mark.parametrize("shape", [(9, 8, 3), (12, 12, 1), (6, 7, 2)])
def test_distances_against_monai(shape: tuple[int, ...]) -> None:
    guess, truth = random_masks(3, shape)
    one_hot = [torch.from_numpy(mask)[None, None].float() for mask in (guess, truth)]
    options = {"include_background": True, "spacing": list(SPACING_MM)}
    metrics = lesion_metrics(guess, truth, SPACING_MM)
    assert metrics["hausdorff_mm"] == pytest.approx(compute_hausdorff_distance(*one_hot, **options).item())
    assd = compute_average_surface_distance(*one_hot, symmetric=True, **options).item()
    assert metrics["assd_mm"] == pytest.approx(assd, rel=1e-5)


def test_by_hand() -> None:
    """Two squares of 4 x 4 pixels, one pixel apart, in a slice: 12 pixels common."""
    truth, guess = np.zeros((10, 10, 2), bool), np.zeros((10, 10, 2), bool)
    truth[2:6, 2:6, 0] = guess[3:7, 2:6, 0] = True
    metrics = lesion_metrics(guess, truth, (2.0, 1.0, 5.0))
    assert metrics == pytest.approx(
        {
            "dice": 24 / 32,
            "precision": 12 / 16,
            "recall": 12 / 16,
            "hausdorff_mm": 2.0,
            # A slice is thin: every pixel is surface. Of 16 in each set 4 have the distance of one pixel.
            "assd_mm": (4 * 2 + 4 * 2) / 32,
            "volume_ml": 0.16,
            "predicted_volume_ml": 0.16,
            "absolute_volume_error_ml": 0.0,
            "relative_volume_error": 0.0,
            "false_positive_ml": 0.04,
            "lesion_count_difference": 0.0,
            "lesion_f1": 1.0,  # 12 of 20 voxels are common
        }
    )


def test_volumes_by_hand() -> None:
    truth, guess = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
    truth[:4, :5, :5], guess[:5, :5, :6] = True, True  # 100 and 150 voxels of 0.01 ml
    metrics = lesion_metrics(guess, truth, (1.0, 2.0, 5.0))
    assert metrics["volume_ml"] == pytest.approx(1.0)
    assert metrics["predicted_volume_ml"] == pytest.approx(1.5)
    assert metrics["absolute_volume_error_ml"] == pytest.approx(0.5)
    assert metrics["relative_volume_error"] == pytest.approx(0.5)
    assert metrics["false_positive_ml"] == pytest.approx(0.5)


EMPTY, FULL = np.zeros((4, 3, 2), bool), np.ones((4, 3, 2), bool)
DIAGONAL_MM = float(np.sqrt((4 * 0.9) ** 2 + (3 * 0.8) ** 2 + (2 * 8) ** 2))
VOLUME_ML = 24 * 0.9 * 0.8 * 8 / 1000


@pytest.mark.parametrize(
    ("guess", "truth", "expected"),
    [
        # dice, precision, recall, hausdorff, assd, volume, predicted, absolute error, relative error, false positives,
        # difference of lesions, F1 of lesions
        (EMPTY, EMPTY, (1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1)),
        (FULL, EMPTY, (0, 0, 0, DIAGONAL_MM, DIAGONAL_MM, 0, VOLUME_ML, VOLUME_ML, 1, VOLUME_ML, 1, 0)),
        (EMPTY, FULL, (0, 0, 0, DIAGONAL_MM, DIAGONAL_MM, VOLUME_ML, 0, VOLUME_ML, 1, 0, 1, 0)),
        (FULL, FULL, (1, 1, 1, 0, 0, VOLUME_ML, VOLUME_ML, 0, 0, 0, 0, 1)),
    ],
)
def test_empty_and_full_masks_have_stated_values(guess: np.ndarray, truth: np.ndarray, expected: tuple) -> None:
    metrics = lesion_metrics(guess, truth, SPACING_MM)
    assert tuple(metrics) == SEGMENTATION_METRICS
    assert tuple(metrics.values()) == pytest.approx(expected)


def test_values_of_empty_masks_can_be_chosen() -> None:
    empty = EmptyMaskValues(agreement=0.5, undefined_ratio=0.25, relative_volume_error=9, distance_mm=373.0)
    both = lesion_metrics(EMPTY, EMPTY, SPACING_MM, empty=empty)
    assert [both[name] for name in ("dice", "precision", "recall", "lesion_f1", "hausdorff_mm")] == [
        0.5,
        0.5,
        0.5,
        0.5,
        0,
    ]
    false_positive = lesion_metrics(FULL, EMPTY, SPACING_MM, empty=empty)
    assert (false_positive["recall"], false_positive["relative_volume_error"]) == (0.25, 9)
    assert (false_positive["hausdorff_mm"], false_positive["assd_mm"]) == (373, 373)
    assert lesion_metrics(EMPTY, FULL, SPACING_MM, empty=empty)["precision"] == 0.25


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), axes=st.permutations(range(3)), flip=st.sets(st.integers(0, 2)))
def test_orientation_does_not_matter(seed: int, axes: list[int], flip: set[int]) -> None:
    masks = random_masks(seed, (5, 4, 3))
    turned = [np.flip(mask, tuple(flip)).transpose(axes) for mask in masks]
    expected = lesion_metrics(*masks, SPACING_MM)
    assert lesion_metrics(*turned, [SPACING_MM[axis] for axis in axes]) == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
def test_symmetries_and_units(seed: int, scale: float) -> None:
    guess, truth = random_masks(seed, (5, 4, 3))
    there, back = lesion_metrics(guess, truth, SPACING_MM), lesion_metrics(truth, guess, SPACING_MM)
    for name in ("dice", "hausdorff_mm", "assd_mm", "absolute_volume_error_ml"):
        assert there[name] == pytest.approx(back[name], rel=1e-5)
    assert there["precision"] == pytest.approx(back["recall"])
    scaled = lesion_metrics(guess, truth, [scale * s for s in SPACING_MM])
    for name, power in (("dice", 0), ("hausdorff_mm", 1), ("assd_mm", 1), ("volume_ml", 3), ("false_positive_ml", 3)):
        assert scaled[name] == pytest.approx(there[name] * scale**power, rel=1e-5)
    assert there["assd_mm"] <= there["hausdorff_mm"] + 1e-6


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, -2), (1, 1, np.nan), (1, 1, 1, 1)])
def test_bad_spacing(spacing: tuple) -> None:
    with pytest.raises(ValueError, match="spacing_mm: expected three positive numbers"):
        lesion_metrics(EMPTY, FULL, spacing)


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match=r"two masks \(H, W, D\) of one shape, got \(4, 3, 2\), \(4, 3, 1\)"):
        lesion_metrics(EMPTY, EMPTY[..., :1], SPACING_MM)
    with pytest.raises(ValueError, match="two masks"):
        lesion_metrics(EMPTY[..., 0], EMPTY[..., 0], SPACING_MM)
