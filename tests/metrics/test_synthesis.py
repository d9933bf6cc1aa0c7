import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.morphology import dilation as binary_dilation
from skimage.morphology import disk

from scripts.metrics import synthesis_metrics
from scripts.metrics.synthesis import PSNR_MAX_DB, dilate_in_slice, ssim_map


def images(seed: int = 0, shape: tuple[int, ...] = (48, 40, 3)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = gaussian_filter(rng.random(shape), (3, 3, 0))
    true = (true - true.min()) / np.ptp(true)
    made = true + rng.normal(0, 0.1, shape)
    label = np.zeros(shape, bool)
    label[20:26, 15:20, 1] = True
    return made.astype(np.float32), true.astype(np.float32), label


def skimage_ssim_map(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    slices = [
        structural_similarity(
            made[..., k],
            true[..., k],
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1]
        for k in range(made.shape[2])
    ]
    return np.stack(slices, axis=-1)


def test_ssim_of_every_pixel_against_skimage() -> None:
    made, true, _ = images()
    # Both subtract squared means from mean squares in float32; the map's mean agrees ten times better.
    np.testing.assert_allclose(ssim_map(made, true), skimage_ssim_map(made, true), atol=3e-4)


def test_global_and_local_values_against_skimage() -> None:
    made, true, label = images()
    metrics = synthesis_metrics(made, true, label)
    region = np.zeros_like(label)
    region[..., 1] = binary_dilation(label[..., 1], disk(10))
    expected_map = skimage_ssim_map(made, true)
    assert metrics["ssim"] == pytest.approx(expected_map.mean(), abs=1e-5)
    assert metrics["local_ssim"] == pytest.approx(expected_map[region].mean(), abs=1e-5)
    assert metrics["psnr_db"] == pytest.approx(peak_signal_noise_ratio(true, made, data_range=1.0), abs=1e-4)
    local = peak_signal_noise_ratio(true[region], made[region], data_range=1.0)
    assert metrics["local_psnr_db"] == pytest.approx(local, abs=1e-4)


def test_psnr_by_hand() -> None:
    true = np.zeros((16, 16, 2), np.float32)
    assert synthesis_metrics(true + 0.1, true)["psnr_db"] == pytest.approx(20.0, abs=1e-5)


def test_identical_images_have_a_finite_psnr() -> None:
    _, true, label = images()
    expected = {"ssim": 1.0, "local_ssim": 1.0, "psnr_db": PSNR_MAX_DB, "local_psnr_db": PSNR_MAX_DB}
    assert synthesis_metrics(true, true, label) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("label", [None, np.zeros((48, 40, 3))])
def test_without_lesion_the_local_values_are_undefined(label: np.ndarray | None) -> None:
    made, true, _ = images()
    metrics = synthesis_metrics(made, true, label)
    assert np.isnan([metrics["local_ssim"], metrics["local_psnr_db"]]).all()
    assert np.isfinite([metrics["ssim"], metrics["psnr_db"]]).all()


def test_all_zero_images() -> None:
    zeros = np.zeros((16, 16, 1), np.float32)
    assert synthesis_metrics(zeros, zeros)["ssim"] == pytest.approx(1.0)


def test_images_smaller_than_the_window() -> None:
    made, true, _ = images()
    assert np.isfinite(synthesis_metrics(made[:4, :3], true[:4, :3])["ssim"])


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), margin=st.sampled_from([1, 3, 10]))
def test_dilation_stays_in_the_slice(seed: int, margin: int) -> None:
    mask = np.random.default_rng(seed).random((30, 26, 3)) > 0.998
    expected = np.stack([binary_dilation(mask[..., k], disk(margin)) for k in range(3)], -1)
    np.testing.assert_array_equal(dilate_in_slice(mask, margin), expected)


def test_bad_shapes() -> None:
    made, true, label = images()
    with pytest.raises(ValueError, match=r"images \(H, W, D\) of one shape, got \(48, 40, 2\), \(48, 40, 3\)"):
        synthesis_metrics(made[..., :2], true, label)
    with pytest.raises(ValueError, match="of one shape"):
        synthesis_metrics(made[..., 0], true[..., 0])
