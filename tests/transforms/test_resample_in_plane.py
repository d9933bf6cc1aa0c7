import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter

from scripts.transforms import ResampleInPlane, ResampleInPlaned
from scripts.transforms.resample_in_plane import in_plane_size


@pytest.mark.parametrize(
    ("size", "pixel_mm", "expected"),
    [
        (256, 0.90, 256),
        (256, 0.80, 256),
        (256, 1.04, 256),
        (220, 1.00, 220),
        (512, 0.45, 256),
        (512, 0.40, 256),
        (128, 1.80, 256),
        (64, 3.60, 256),
        (768, 0.30, 256),
        (512, 0.70, 256),  # 358 mm wide: made to fit
        (300, 0.60, 200),  # no whole factor: 180 mm of 0.9 mm pixels
        (320, 0.90, 256),
    ],
)
def test_size_of_an_axis(size, pixel_mm, expected):
    assert in_plane_size(size, pixel_mm, 256, 0.9) == expected


def image(array, spacing_mm):
    affine = torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-100.0, 30.0, 7.0])
    return MetaTensor(torch.as_tensor(array, dtype=torch.float32), affine=affine)


@given(st.integers(0, 999), st.sampled_from([(512, 0.45, 2), (128, 1.8, 1), (64, 3.6, 1), (220, 1.0, 1)]))
def test_a_mask_comes_back_exactly(seed, grid):
    size, pixel_mm, block = grid
    coarse = np.random.default_rng(seed).random((1, size // block, size // block, 2)) < 0.3
    mask = coarse.repeat(block, axis=1).repeat(block, axis=2)
    transform = ResampleInPlane()
    original = image(mask, (pixel_mm, pixel_mm, 8.0))
    there = transform(original)
    back = transform.inverse(there.clone())
    np.testing.assert_array_equal(back.numpy() > 0.5, mask)
    torch.testing.assert_close(back.affine, original.affine)
    assert not back.applied_operations


def test_a_lesion_on_a_fine_grid_loses_less_than_a_hundredth():
    noise = np.random.default_rng(1).normal(size=(512, 512, 1))
    mask = gaussian_filter(noise, (12, 12, 0))[None] > 0.01
    transform = ResampleInPlane()
    back = transform.inverse(transform(image(mask, (0.45, 0.45, 8.0)))).numpy() > 0.5
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.99


def test_places_stay_where_they_are():
    # The centre of mass in mm, of a blob, by the affine before and after.
    x, y = np.meshgrid(np.arange(300), np.arange(300), indexing="ij")
    blob = image(np.exp(-((x - 90) ** 2 + (y - 180) ** 2) / 800)[None, ..., None], (0.6, 0.6, 8.0))
    resampled = ResampleInPlane()(blob)

    def centre_mm(picture):
        array = picture.numpy()[0]
        index = [(np.indices(array.shape)[axis] * array).sum() / array.sum() for axis in range(3)]
        return (picture.affine.numpy() @ [*index, 1.0])[:3]

    assert resampled.shape == (1, 200, 200, 1)
    np.testing.assert_allclose(centre_mm(resampled), centre_mm(blob), atol=0.05)


def test_dictionary_version_inverts_and_leaves_the_rest():
    transform = ResampleInPlaned(["image", "label"], size=64, allow_missing_keys=True)
    original = image(np.random.default_rng(0).random((2, 32, 32, 3)), (7.2, 7.2, 5.0))
    there = transform({"image": original, "case": "case_1"})
    assert there["image"].shape == (2, 64, 64, 3)
    assert transform.inverse(there)["image"].shape == original.shape


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="size: expected at least 1 pixel, got 0"):
        ResampleInPlane(0)
    with pytest.raises(ValueError, match="field_of_view_mm: expected above 0 mm"):
        ResampleInPlane(256, -1.0)
    with pytest.raises(ValueError, match=r"image: expected 4 dimensions \(C, H, W, D\)"):
        ResampleInPlane()(torch.zeros(3, 4, 4))
