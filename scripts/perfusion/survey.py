"""What one pass over a series tells of it: each frame's statistics, and a coarse copy for everything else.

The coarse copy has pixels of about 2 mm, so that what is measured on it takes a few hundredths of a second. No arterial
input and no map is needed, and none is believed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .brain import away_from_bone, brain_mask, check_series
from .curve_features import smooth_in_time
from .masked_grid import Spacing
from .slice_timing import at_frame_times

_PIXEL_MM = 2.0
_FRAMES_AT_ONCE = 4
_SATURATED_HU = 3000.0  # the quality control warns of what is above
_RANGE_HU = (-1100.0, 3100.0)  # what a scanner measures; one voxel beyond it must not fill a coarse pixel
_DEAD_SHARE = 0.02  # of the usual spread of a frame
_VESSEL_SHARE, _FEWEST_VESSELS = 0.005, 20
_BRIGHTEST = 30
_FEWEST_SLICES = 4  # that show an alternation
_LEAST_IN_MIDDLE = 0.1  # of the voxels there
_SMALLEST_SLICE_CM2, _LARGEST_CM2 = 40.0, 400.0
_STANDARD_ERRORS = 2.0
_ENDS = 3  # frames
_USUAL_VOXEL_MM3 = 0.9 * 0.9 * 10


class Survey(NamedTuple):
    """A series at a glance; tensors on its device."""

    frames: Tensor
    """(T, h, w, D) float32: the series on pixels of about 2 mm, HU."""
    spacing_mm: Spacing
    """Of the coarse voxels."""
    factor: tuple[int, int]
    """Pixels along H and W in a coarse one."""
    lowest: Tensor
    """(T,) smallest value of each frame."""
    highest: Tensor
    """(T,) largest value of each frame."""
    spread: Tensor
    """(T,) standard deviation of each frame, on coarse pixels."""
    brain: Tensor
    """Boolean (h, w, D): the brain on coarse pixels, empty where none is found."""
    inside: Tensor
    """Boolean (h, w, D): the brain; the middle of the image where nothing of the size of a brain is found."""
    tissue: Tensor
    """(T,) mean of `inside`, HU."""
    vessels: Tensor
    """(T,) mean of what enhances most in it, away from bone, HU."""
    brightest: Tensor
    """(T, N) the brightest voxels, on the series' own pixels, among these."""
    largest_hu: float
    """Largest value of these, or of the whole of `inside` where that is beyond what contrast and bone have, HU."""
    pixel_noise_hu: float
    """Standard deviation of the noise of single voxels in it, as if of 0.9 x 0.9 x 10 mm."""


def survey_series(series: Tensor, spacing_mm: Spacing) -> Survey:
    """Look at a series (T, H, W, D) in HU once.

    Raises:
        ValueError: `series` is not (T, H, W, D) with at least 3 frames, or `spacing_mm` is not three positive numbers.
    """
    check_series(series, spacing_mm)
    if len(series) < _ENDS:
        raise ValueError(f"series must have at least {_ENDS} frames, got {len(series)}")
    factor = (_factor(series.shape[1], spacing_mm[0]), _factor(series.shape[2], spacing_mm[1]))
    coarse, lowest, highest, spread = zip(
        *(_reduced(part, factor) for part in series.split(_FRAMES_AT_ONCE)), strict=True
    )
    frames = torch.cat(coarse)
    size_mm = (spacing_mm[0] * factor[0], spacing_mm[1] * factor[1], spacing_mm[2])
    brain = brain_mask(frames, size_mm)
    inside = brain if _can_be_brain(brain, size_mm) else _middle(brain)
    curves = frames[:, inside]
    steady = inside & away_from_bone(frames, size_mm)
    chosen = _most_enhancing(frames, steady if steady.any() else inside)
    fine, per_frame = _fine(inside, factor, series), torch.cat(highest)
    brightest = _brightest(series, chosen, factor)
    beyond = [
        series[frame][fine].float().nan_to_num(posinf=math.inf).max()
        for frame in torch.nonzero(per_frame > _SATURATED_HU).flatten()
    ]
    return Survey(
        frames,
        size_mm,
        factor,
        torch.cat(lowest),
        per_frame,
        torch.cat(spread),
        brain,
        inside,
        curves.mean(dim=1),
        frames[:, chosen].mean(dim=1),
        brightest,
        max(float(value) for value in (brightest.max(), *beyond)),
        _pixel_noise_hu(series, fine, spacing_mm),
    )


def frame_numbers(series: Tensor, survey: Survey) -> dict[str, float]:
    """What is wrong with single frames, and with their order."""
    dead = survey.spread <= _DEAD_SHARE * survey.spread.median()
    extreme = torch.stack([survey.lowest.min(), survey.highest.max()])
    tissue = survey.tissue
    beside = torch.cat(
        [2 * tissue[1:2] - tissue[2:3], (tissue[2:] + tissue[:-2]) / 2, 2 * tissue[-2:-1] - tissue[-3:-2]]
    )
    between = (tissue - beside).abs()
    between[0] /= 2  # what is extrapolated errs more
    between[-1] /= 2
    return {
        "values": float(extreme[extreme.abs().argmax()]),
        "dead_frames": float(dead.sum()),
        "dead_slices": _dead_slices(survey),
        "repeated_frames": float(_repeated(series, survey, dead)),
        "frame_jump": float(between.max()),
        "frame_order": _ups_and_downs(tissue),
        "reversed_time": _reversal(survey.vessels),
    }


def _dead_slices(survey: Survey) -> float:
    """Slices of one value at all times that lie next to one with brain."""
    flat = survey.frames.movedim(-1, 0).flatten(1)
    dead = flat.amax(dim=1) == flat.amin(dim=1)
    shown = survey.inside.flatten(0, 1).any(dim=0)
    beside = torch.zeros_like(shown)
    beside[1:] |= shown[:-1]
    beside[:-1] |= shown[1:]
    return float((dead & beside).sum())


def brain_numbers(survey: Survey) -> dict[str, float]:
    """Whether what is seen can be a brain with contrast in it, and a whole one."""
    usual = survey.frames[:: max(1, len(survey.frames) // 8)].median(dim=0).values
    smooth = smooth_in_time(survey.tissue[:, None])
    highest = survey.brightest.amax(dim=0)
    numbers = {
        "brain_hu": float(usual[survey.inside].median()),
        "tissue_enhancement": float(smooth.max() - smooth.min()),
        "pixel_noise": survey.pixel_noise_hu,
        "saturation": survey.largest_hu,
        "ceiling": float(highest.unique(return_counts=True)[1].max()) / len(highest),
    }
    if survey.brain.any():
        section_cm2 = _sections_cm2(survey.brain, survey.spacing_mm)
        numbers["brain_section"] = float(section_cm2.max())
        numbers["cut_brain"] = _straight_share(survey.brain[..., section_cm2 > _SMALLEST_SLICE_CM2])
    return numbers


def time_numbers(times_s: float | Sequence[float], n_frames: int) -> dict[str, float]:
    """What the times of the frames say by themselves: the usual and the largest step, and the duration, in s."""
    if isinstance(times_s, (int, float)):
        return {"frame_interval": float(times_s), "duration": float(times_s) * (n_frames - 1)}
    times = torch.as_tensor(times_s, dtype=torch.float64)
    steps = times.diff()
    if not len(steps):
        return {}
    return {
        "frame_interval": float(steps.median()),
        "largest_gap": float(steps.max()),
        "duration": float(times[-1] - times[0]),
    }


def slab_step_s(survey: Survey, times_s: Tensor, slice_times_s: Tensor | None = None) -> float:
    """By how much every other slice is late, s, beyond twice its standard error; 0 with fewer than 4 slices of brain.

    What the times of the slices (D, T) say, if there are any, is no lateness.

    A slice's curve is its neighbors' mean, scaled and shifted: to first order a combination of that mean, its slope
    and a level, whose least-squares fit tells the shift.
    """
    slices = [index for index in range(survey.brain.shape[2]) if survey.brain[..., index].sum() > _FEWEST_VESSELS]
    if len(slices) < _FEWEST_SLICES or slices[-1] - slices[0] >= len(slices):
        return 0.0
    frames = survey.frames if slice_times_s is None else at_frame_times(survey.frames, slice_times_s)
    curves = torch.stack([frames[..., index][:, survey.brain[..., index]].mean(dim=1) for index in slices])
    shifts = []
    for index in range(1, len(curves) - 1):
        beside = (curves[index - 1] + curves[index + 1]) / 2
        slope = torch.gradient(beside, spacing=(times_s.to(beside.device),))[0]
        terms = torch.stack([beside - beside.mean(), slope - slope.mean(), torch.ones_like(beside)], dim=1).double()
        scale, along, _ = torch.linalg.lstsq(terms, curves[index].double()[:, None]).solution[:, 0].tolist()
        shifts.append((-1) ** index * -along / scale if abs(scale) > 1e-6 else 0.0)
    alternating = torch.tensor(shifts)
    error = float(alternating.std(correction=0)) / math.sqrt(len(shifts))
    return max(0.0, abs(float(alternating.mean())) - _STANDARD_ERRORS * error)


def _factor(size: int, pixel_mm: float) -> int:
    return max(1, min(size, round(_PIXEL_MM / pixel_mm)))


def _reduced(part: Tensor, factor: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Some frames (n, H, W, D) on coarse pixels, and the least, the greatest and the spread of each (n,)."""
    values = part.float().nan_to_num(posinf=math.inf, neginf=-math.inf)
    as_stored = values.clamp(*_RANGE_HU).permute(0, 3, 2, 1)  # the order in memory of a series from a NIfTI file
    coarse = F.avg_pool2d(as_stored, (factor[1], factor[0]), ceil_mode=True)
    spread = coarse.flatten(1).std(dim=1)
    return coarse.permute(0, 3, 2, 1), values.amin(dim=(1, 2, 3)), values.amax(dim=(1, 2, 3)), spread


def _sections_cm2(brain: Tensor, spacing_mm: Spacing) -> Tensor:
    """Area (D,) of the brain in each slice."""
    return brain.sum(dim=(0, 1)) * (spacing_mm[0] * spacing_mm[1] / 100)


def _can_be_brain(brain: Tensor, spacing_mm: Spacing) -> bool:
    """Whether what looks like a brain has its size and lies in the middle of the image; air with an offset does not."""
    in_middle = float(brain[_middle(brain)].float().mean())
    return in_middle > _LEAST_IN_MIDDLE and float(_sections_cm2(brain, spacing_mm).max()) <= _LARGEST_CM2


def _middle(image: Tensor) -> Tensor:
    """The middle half of the plane (h, w, D), along both axes."""
    inside = torch.zeros_like(image, dtype=torch.bool)
    (low_h, high_h), (low_w, high_w) = ((size // 4, max(size // 4 + 1, size - size // 4)) for size in image.shape[:2])
    inside[low_h:high_h, low_w:high_w] = True
    return inside


def _most_enhancing(frames: Tensor, inside: Tensor) -> Tensor:
    """The voxels (h, w, D) of a region whose smoothed curves rise most over the first frames."""
    smooth = smooth_in_time(frames[:, inside])
    rise = smooth.amax(dim=0) - smooth[:_ENDS].mean(dim=0)
    count = min(len(rise), max(_FEWEST_VESSELS, round(_VESSEL_SHARE * len(rise))))
    chosen = torch.zeros_like(inside)
    chosen[inside] = rise >= rise.topk(count).values[-1]
    return chosen


def _brightest(series: Tensor, chosen: Tensor, factor: tuple[int, ...]) -> Tensor:
    curves = series[:, _fine(chosen, factor, series)].float()
    return curves[:, curves.amax(dim=0).topk(min(_BRIGHTEST, curves.shape[1])).indices]


def _fine(mask: Tensor, factor: tuple[int, ...], series: Tensor) -> Tensor:
    """A coarse mask (h, w, D) on the pixels of a series."""
    fine = mask.repeat_interleave(factor[0], dim=0).repeat_interleave(factor[1], dim=1)
    return fine[: series.shape[1], : series.shape[2]]


def _pixel_noise_hu(series: Tensor, inside: Tensor, spacing_mm: Spacing) -> float:
    """From second differences of the first frames, whose standard deviation is the root of 1 + 4 + 1 times the noise's.

    The median of their sizes leaves vessels and edges that move out. Noise falls with the root of the voxel's volume.
    """
    first, second, third = (series[index][inside].float() for index in range(3))
    bend_hu = float((first - 2 * second + third).abs().median()) if inside.any() else 0.0
    return 1.4826 * bend_hu / math.sqrt(6) * math.sqrt(math.prod(spacing_mm) / _USUAL_VOXEL_MM3)


def _repeated(series: Tensor, survey: Survey, dead: Tensor) -> int:
    """Frames that are an earlier one, voxel by voxel; those with the same statistics are looked at."""
    earlier: dict[tuple[float, ...], list[int]] = {}
    count = 0
    statistics = torch.stack([survey.lowest, survey.highest, survey.spread], dim=1).tolist()
    for index, numbers in enumerate(statistics):
        if dead[index]:
            continue
        alike = earlier.setdefault(tuple(numbers), [])
        count += any(torch.equal(series[index], series[other]) for other in alike)
        alike.append(index)
    return count


def _ups_and_downs(curve: Tensor) -> float:
    """Total variation of a curve (T,) over its range: 2 for a bolus that comes and goes."""
    return float(curve.diff().abs().sum() / (curve.max() - curve.min()).clamp_min(1e-3))


def _reversal(curve: Tensor) -> float:
    """Above 0 where a curve (T,) begins above its end and rises more slowly than it falls, as shares of its height.

    Contrast comes quickly, leaves slowly and stays in part, so that both are negative for a bolus; the nearer to
    0 counts.
    """
    height = curve - curve.min()
    if not float(height.max()) > 0:
        return -1.0
    peak = int(height.argmax())
    excess = float((curve[:_ENDS].mean() - curve[-_ENDS:].mean()) / height.max())
    slower = float((height[:peak].sum() - height[peak + 1 :].sum()) / height.sum())
    return min(excess, slower)


def _straight_share(brain: Tensor) -> float:
    """Longest straight edge along a row or a column of slices (h, w, n) over the extent there, median of the slices.

    An oval touches a row of its bounding box with about a third of its width, a cut one with all of it.
    """
    shares = []
    for mask in brain.unbind(dim=2):
        largest = 0.0
        for turned in (mask, mask.T):
            padded = F.pad(turned, (0, 0, 1, 1))
            extent = int(turned.any(dim=0).sum())
            edges = torch.maximum((turned & ~padded[:-2]).sum(dim=1).max(), (turned & ~padded[2:]).sum(dim=1).max())
            largest = max(largest, float(edges) / max(extent, 1))
        shares.append(largest)
    return float(torch.tensor(shares).median()) if shares else 0.0
