"""Quality control of a series: what may spoil its maps, each with the number that says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .curve_features import curve_features
from .maps import PerfusionVolumes
from .motion import displacement_mm, estimate_motion
from .smoothing import Spacing


@dataclass(frozen=True)
class QualityLimits:
    """Limits of the quality control.

    They are choices that seemed plausible for CT perfusion, not the outcome of a study; set them for a scanner and a
    protocol. What is known is that a scan should show the whole fall of the venous curve, for which it needs 60 to 70 s
    (Kasasbeh et al., Stroke 2016; PMC5134896).
    """

    tail_share: float = 0.35
    """Venous or arterial enhancement at the last frame over its peak, above which the passage is cut off."""
    late_arrival_s: float = 25.0
    """Arrival of contrast in the artery."""
    fewest_baseline_frames: int = 2
    """Frames before contrast arrives."""
    arterial_peak_hu: float = 60.0
    """Peak of the arterial curve before scaling."""
    saturated_hu: float = 3000.0
    """Attenuation that scanners clip at (12 bits)."""
    saturated_frames: int = 3
    """Frames at which most arterial voxels have one and the same largest value, above which something else clips."""
    partial_volume_scale: float = 2.5
    """Factor by which the arterial curve had to be raised to the venous area."""
    motion_mm: float = 2.0
    """Largest displacement of a frame, where the curves tell it."""
    large_motion_mm: float = 4.0
    """The same by a coarse registration of the series, which errs by up to 2 mm; corrected or not, a head that moved so
    far has left its slices, too."""
    noise_ratio: float = 0.5
    """Standard deviation of the noise of the smoothed curves over the mean tissue peak."""
    drowned_noise_ratio: float = 2.0
    """The same, above which tissue shows no passage of contrast that could be read."""
    brain_ml: float = 150.0
    """Volume of brain in the image."""
    no_contrast_hu: float = 8.0
    """Peak of the arterial curve below which there is no examination."""
    no_contrast_to_noise: float = 5.0
    """Peak of the arterial curve over its noise, below which it may be noise: the best curve of noise alone has 3."""


@dataclass(frozen=True)
class QualityWarning:
    """One finding: its name, the number that triggered it, the limit, and whether maps make no sense with it."""

    name: str
    value: float
    limit: float
    unit: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.3g} {self.unit} (limit {self.limit:.3g})".replace("  ", " ")


def check_quality(
    series: Tensor, maps: PerfusionVolumes, spacing_mm: Spacing, limits: QualityLimits | None = None
) -> list[QualityWarning]:
    """List what is wrong with an examination.

    Args:
        series: (T, H, W, D) in HU.
        maps: what `perfusion_maps` made of it.
        spacing_mm: voxel size along H, W and D.
        limits: the limits; the defaults if None.

    Returns:
        The warnings, those that make the examination unusable first. Names: ``no_contrast``, ``truncated_series``,
        ``late_contrast``, ``missing_baseline``, ``weak_aif``, ``saturated_aif``, ``partial_volume_aif``, ``motion``,
        ``noise``, ``small_coverage``.
    """
    limits = limits or QualityLimits()
    arterial, dt_s = maps.arterial, maps.dt_s
    raw_aif = arterial.aif_hu / arterial.scale
    artery = curve_features(raw_aif[:, None], dt_s)
    peak_hu, arrival_s = float(artery.peak_hu), float(artery.arrival_s)
    tails = [
        float(curve[-3:].mean() / curve.max()) for curve in (arterial.aif_hu, arterial.vof_hu) if float(curve.max()) > 0
    ]
    brightest, frames_at_top, contrast_to_noise = _arterial_voxels(series, arterial.aif_mask, peak_hu)
    moved_mm = float(displacement_mm(estimate_motion(series, spacing_mm)).max())
    volume_ml = float(maps.brain.sum()) * spacing_mm[0] * spacing_mm[1] * spacing_mm[2] / 1000
    found = [
        _below("no_contrast", peak_hu, limits.no_contrast_hu, "HU", fatal=True)
        or _below("no_contrast", contrast_to_noise, limits.no_contrast_to_noise, "fold the noise", fatal=True),
        _above("truncated_series", max(tails, default=0.0), limits.tail_share, "of the peak at the end"),
        _above("late_contrast", arrival_s, limits.late_arrival_s, "s"),
        _below("missing_baseline", maps.n_baseline, limits.fewest_baseline_frames, "frames"),
        _below("weak_aif", peak_hu, limits.arterial_peak_hu, "HU"),
        _above("saturated_aif", brightest, limits.saturated_hu, "HU")
        or _above("saturated_aif", frames_at_top, limits.saturated_frames, "frames at the peak"),
        _above("partial_volume_aif", arterial.scale, limits.partial_volume_scale, "fold"),
        _above("motion", moved_mm, limits.large_motion_mm, "mm")
        or _above("motion", float(maps.motion_mm.max()), limits.motion_mm, "mm"),
        _above("noise", maps.noise_ratio, limits.drowned_noise_ratio, "of the tissue's peak", fatal=True)
        or _above("noise", maps.noise_ratio, limits.noise_ratio, "of the tissue's peak"),
        _below("small_coverage", volume_ml, limits.brain_ml, "ml"),
    ]
    return [warning for warning in found if warning is not None]


def _arterial_voxels(series: Tensor, mask: Tensor, peak_hu: float) -> tuple[float, float, float]:
    """Largest attenuation in HU, frames that share a voxel's largest value (median), and the peak over the noise.

    A curve that was given has no voxels, and nothing to say of any of them.
    """
    if not mask.any():
        return 0.0, 0.0, math.inf
    curves = series[:, mask].float()
    highest = curves.amax(dim=0)
    mean = curves.mean(dim=1)
    bend = mean[2:] - 2 * mean[1:-1] + mean[:-2]
    noise_hu = float((bend.square().mean() / 6).sqrt())  # the variance of a second difference is 1 + 4 + 1 times
    return float(highest.max()), float((curves == highest).sum(dim=0).median()), peak_hu / max(noise_hu, 1e-3)


def refuse_unusable(warnings: Sequence[QualityWarning]) -> None:
    """Raise ValueError if one of the warnings makes the examination unusable."""
    fatal = [str(warning) for warning in warnings if warning.fatal]
    if fatal:
        raise ValueError(f"series must show the passage of contrast, got {'; '.join(fatal)}")


def _above(name: str, value: float, limit: float, unit: str, fatal: bool = False) -> QualityWarning | None:
    return QualityWarning(name, value, limit, unit, fatal) if value > limit else None


def _below(name: str, value: float, limit: float, unit: str, fatal: bool = False) -> QualityWarning | None:
    return QualityWarning(name, value, limit, unit, fatal) if value < limit else None
