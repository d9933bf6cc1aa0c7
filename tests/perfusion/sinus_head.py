"""A head with a skull, a lesion behind a late artery, and a sinus in a groove of the inner table; drawn at random."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import gamma, lognorm

PIXEL_MM = 1.0
SPACING_MM = (PIXEL_MM, PIXEL_MM, 6.0)
_SHAPE = (144, 176)
_FINE_S = 0.1
_SUPERSAMPLING = 3


class SinusHead(NamedTuple):
    """A simulated series and where its vessels are."""

    series: torch.Tensor
    """(T, H, W, 3) in HU."""
    dt_s: float
    artery: NDArray
    """(H, W, 3) share of arteries whose blood is in time."""
    late_artery: NDArray
    sinus: NDArray
    lesion: NDArray
    """Boolean (H, W, 3)."""
    area_hu_s: float
    """Of the curve of whole blood."""


def sinus_head(seed: int, with_sinus: bool = True) -> SinusHead:
    """Draw a head: bolus, side, delay and size of the lesion, calibre of the late artery, sinus, noise."""
    rng = np.random.default_rng(seed)
    dt_s = float(rng.choice([1.0, 1.5, 2.0]))
    times_s = np.arange(0, 62, dt_s)
    fine_s = np.arange(0, 62, _FINE_S)
    bolus = gamma.pdf(fine_s - rng.uniform(8, 12), a=3.5, scale=rng.uniform(1.0, 1.7))
    blood_hu = rng.uniform(250, 420) * bolus / bolus.max()
    delay_s, side = rng.uniform(3.5, 9.0), rng.choice([-1, 1])
    mtt_s = rng.uniform(3.5, 5.0)

    def passed(kernel: NDArray, delay: float = 0.0) -> NDArray:
        curve = np.convolve(blood_hu, kernel)[: len(fine_s)] * _FINE_S
        return np.interp(times_s - delay, fine_s, curve, left=0.0)

    transit = lognorm.pdf(fine_s, s=0.5, scale=mtt_s)
    dispersion = gamma.pdf(fine_s, a=2, scale=rng.uniform(0.4, 1.2))
    curves = {
        "artery": np.interp(times_s, fine_s, blood_hu),
        "late_artery": passed(dispersion, delay_s),
        "sinus": passed(transit, 1.0),
        "tissue": passed(lognorm.sf(fine_s, s=0.5, scale=mtt_s), 0.7) * 55 / 6000 * 1.4,
        "lesion": passed(lognorm.sf(fine_s, s=0.5, scale=9.0), delay_s + 0.5) * rng.uniform(10, 25) / 6000 * 1.4,
    }
    line = [(np.arange(n * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - n / 2 for n in _SHAPE]
    x, y = np.meshgrid(*line, indexing="ij")
    radius = np.hypot(x / 60, y / 76)
    base = np.select([radius < 1, radius < 1.03, radius < 1.14, radius < 1.24], [33.0, 12.0, 950.0, 45.0], -1000.0)

    def disk(at: tuple[float, float], diameter_mm: float) -> NDArray:
        return (np.hypot(x - at[0], y - at[1]) < diameter_mm / 2).astype(float)

    shares = {
        "artery": np.maximum(disk((-3, 40), rng.uniform(2.0, 3.0)), disk((-side * 34.0, 8.0), rng.uniform(2.0, 3.0))),
        "late_artery": disk((side * 36.0, 6.0), rng.uniform(2.5, 5.0)),
        # a groove of the inner table, beyond the fluid that surrounds the brain
        "sinus": disk((rng.uniform(-2, 2), -80.0), rng.uniform(5.5, 8.0)) * with_sinus,
    }
    lesion = (radius < 1) & (np.hypot(x - side * 40, y - 2) < rng.uniform(18, 30)) & (x * side > 8)
    blood = sum(shares.values())
    base = np.where(blood > 0, 45.0, base)
    shares |= {
        "tissue": ((radius < 1) & ~lesion & (blood == 0)).astype(float),
        "lesion": (lesion & (blood == 0)).astype(float),
    }
    mixed = {name: _pixels(share) for name, share in shares.items()}
    still = _pixels(base)
    frames = still + sum(curves[name][:, None, None] * mixed[name] for name in shares)
    frames = ndimage.gaussian_filter(frames, (0, 0.5, 0.5))
    series = np.repeat(frames[..., None], 3, axis=3)
    noise = ndimage.gaussian_filter(rng.standard_normal(series.shape), (0, 0.6, 0.6, 0))
    series = series + noise / noise.std() * rng.uniform(2, 6)
    maps = {name: np.repeat(mixed[name][..., None], 3, axis=2) for name in ("artery", "late_artery", "sinus")}
    return SinusHead(
        torch.from_numpy(series).float(),
        dt_s,
        **maps,
        lesion=np.repeat(_pixels(lesion.astype(float))[..., None], 3, axis=2) > 0.5,
        area_hu_s=float(blood_hu.sum() * _FINE_S),
    )


def _pixels(image: NDArray) -> NDArray:
    height, width = _SHAPE
    return image.reshape(height, _SUPERSAMPLING, width, _SUPERSAMPLING).mean(axis=(1, 3))
