"""Agreement of a pseudo-DWI with the true DWI: SSIM and PSNR, of the image and around the lesion."""

from collections.abc import Mapping

import numpy as np
import torch
from monai.metrics.regression import KernelType, compute_ssim_and_cs
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

#: How far "around the lesion" reaches; Wang 2020 does not say it.
LOCAL_MARGIN_PX = 10

#: PSNR of images that agree within 1e-5 of the range, and of identical ones, where the formula would be infinite.
PSNR_MAX_DB = 100.0

SYNTHESIS_METRICS = ("ssim", "local_ssim", "psnr_db", "local_psnr_db")

_WINDOW, _SIGMA = 11, 1.5


def synthesis_metrics(pseudo_dwi: ArrayLike, dwi: ArrayLike, label: ArrayLike | None = None) -> dict[str, float]:
    """SSIM and PSNR of a pseudo-DWI, over the entire image and around the lesion (section 4.1 of Wang 2020).

    SSIM is computed in the slice (Gaussian window of 11 x 11 pixels, sigma 1.5), since slices lie up to 12 mm apart;
    the mean of its map over the region is reported. PSNR = 10 log10(1 / mean squared error over the region).

    Args:
        pseudo_dwi: (H, W, D), scaled as `dwi`.
        dwi: (H, W, D), scaled to (0, 1), which is the data range.
        label: (H, W, D), the true lesion; None for a case without label.

    Returns:
        The metrics of `SYNTHESIS_METRICS`. Without a lesion the local ones are NaN; averages leave such cases out.

    Raises:
        ValueError: the shapes differ or are not 3D.
    """
    made, true = np.asarray(pseudo_dwi, np.float32), np.asarray(dwi, np.float32)
    mask = np.zeros(true.shape, bool) if label is None else np.asarray(label).astype(bool)
    if not made.shape == true.shape == mask.shape or true.ndim != 3:
        shapes = f"{made.shape}, {true.shape}, {mask.shape}"
        raise ValueError(f"pseudo_dwi, dwi, label: expected images (H, W, D) of one shape, got {shapes}")
    region = dilate_in_slice(mask)
    similarity = ssim_map(made, true)
    squared_error = np.square(made - true, dtype=np.float64)
    metrics: Mapping[str, float] = {
        "ssim": similarity.mean(dtype=np.float64),
        "local_ssim": similarity[region].mean(dtype=np.float64) if region.any() else np.nan,
        "psnr_db": _psnr_db(squared_error),
        "local_psnr_db": _psnr_db(squared_error[region]) if region.any() else np.nan,
    }
    return {name: float(value) for name, value in metrics.items()}


def dilate_in_slice(mask: NDArray[np.bool_], margin_px: float = LOCAL_MARGIN_PX) -> NDArray[np.bool_]:
    """The pixels within `margin_px` (Euclidean, in pixels) of the mask in the same slice.

    Args:
        mask: (H, W, D) boolean; D counts the slices.
        margin_px: the radius in pixels.
    """
    if not mask.any():
        return np.zeros_like(mask)
    # A slice spacing above every distance, so that slices are independent.
    return distance_transform_edt(~mask, sampling=(1, 1, 2 * margin_px + sum(mask.shape))) <= margin_px


def ssim_map(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """The structural similarity of every pixel, for a data range of 1.

    The images are mirrored at the borders, so every pixel has a value.

    Args:
        first: (H, W, D).
        second: (H, W, D).

    Returns:
        (H, W, D).
    """
    half = _WINDOW // 2

    def slices(image: NDArray[np.float32]) -> torch.Tensor:
        padded = np.pad(np.moveaxis(image, 2, 0), [(0, 0), (half, half), (half, half)], mode="symmetric")
        return torch.from_numpy(padded)[:, None]

    values, _ = compute_ssim_and_cs(
        slices(first),
        slices(second),
        spatial_dims=2,
        data_range=1.0,
        kernel_type=KernelType.GAUSSIAN,
        kernel_size=(_WINDOW, _WINDOW),
        kernel_sigma=(_SIGMA, _SIGMA),
    )
    return np.moveaxis(values[:, 0].numpy(), 0, 2)


def _psnr_db(squared_error: NDArray[np.float64]) -> float:
    floor = 10 ** (-PSNR_MAX_DB / 10)
    return -10 * float(np.log10(max(squared_error.mean(), floor)))
