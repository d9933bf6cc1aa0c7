"""The diffusion-weighted image some hours after the CTP: bright core, dark fluid, Rician noise, arbitrary scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .anatomy import Anatomy
from .fields import SmoothField, correlated_noise
from .parameters import DwiParameters
from .tissue import TissueState

_NOISE_CORRELATION_PX = 0.5
_SCALP_MM = (6.0, 14.0)  # where fat that escapes suppression lies outside the brain's surface


def simulate_dwi(
    anatomy: Anatomy, tissue: TissueState, parameters: DwiParameters, pixel_mm: float
) -> NDArray[np.float32]:
    """Make the image on the grid of the CTP.

    The magnitude of a complex signal with Gaussian noise is Rician (Gudbjartsson, Patz, Magn Reson Med 34:910, 1995).

    Args:
        anatomy: tissue fractions.
        tissue: lesion, old infarct and leukoaraiosis.
        parameters: contrast, noise and scale.
        pixel_mm: in-plane voxel size.

    Returns:
        (H, W, D) float32, in arbitrary units, not negative.
    """
    rng = np.random.default_rng(parameters.seed)
    shape, voxels = anatomy.brain.shape, tissue.voxels
    points_mm = anatomy.mni_mm.reshape(-1, 3)[voxels]
    gray, white = (m.reshape(-1)[voxels] for m in (anatomy.gray, anatomy.white))
    signal = gray * parameters.gray + white * parameters.white
    signal += (1.0 - gray - white) * parameters.fluid
    uneven = 1.0 + 0.15 * np.clip(SmoothField.sample(rng, 10.0)(points_mm), -2, 2)
    signal *= 1.0 + parameters.lesion_gain * tissue.lesion * uneven
    signal *= 1.0 + parameters.leukoaraiosis_gain * tissue.leukoaraiosis
    signal += tissue.old_infarct * (1.15 * parameters.fluid - signal)

    signal *= 1.0 + parameters.bias * np.tanh(SmoothField.sample(rng, 70.0)(points_mm))
    image = tissue.on_grid(signal, shape)
    low_mm, high_mm = _SCALP_MM
    rim = np.exp(-(((anatomy.outside_mm - 0.5 * (low_mm + high_mm)) / (0.35 * (high_mm - low_mm))) ** 2))
    image += np.float32(parameters.residual_scalp) * rim.astype(np.float32)
    blur_px = parameters.blur_mm / pixel_mm
    image = ndimage.gaussian_filter(image, (blur_px, blur_px, 0.0))
    # The interpolation from the MR grid has blurred the noise.
    real, imaginary = (correlated_noise(shape, _NOISE_CORRELATION_PX, rng) for _ in range(2))
    noise = np.float32(parameters.noise)
    return np.hypot(image + noise * real, noise * imaginary) * np.float32(parameters.gain)
