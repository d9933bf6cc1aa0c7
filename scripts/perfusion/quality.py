"""Quality control of a series: what may spoil its maps, each with the number that says so.

The first table is about the series alone and holds for given maps, too; the second is about what `perfusion_maps` made
of it. `docs/how-to/checks.md` shows both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..io.gate import DURATION, FRAME_INTERVAL, VALUES, Check, QualityWarning, fatal_text, findings
from .arterial_quality import arterial_quality
from .curve_features import curve_features
from .enhancement import frame_times
from .frame_motion import longest_gap_s
from .frames import mean_over_time
from .masked_grid import Spacing
from .survey import Survey, brain_numbers, frame_numbers, slab_step_s, survey_series, time_numbers
from .volumes import PerfusionVolumes

_PASSAGE_S = 25.0
_CHOICE = "a choice"
_LEENDERS = "PET of normal brain: CBF 54 in gray and 22 in white matter, CBV 5.2 and 2.7 (Leenders 1990)"
_PHANTOM = "30 phantom cases"

SERIES_CHECKS = (
    VALUES,
    FRAME_INTERVAL,
    Check(
        "largest_gap",
        "longest time between two frames",
        "s",
        "late phases of protocols go up to 15 s; the first pass of tissue takes about 10 s",
        warn=(0.1, 15.0),
        refuse=(0.0, 60.0),
    ),
    DURATION,
    Check("dead_frames", "frames that are constant", "frames", "a scanner measures noise at least", refuse=(0, 0)),
    Check(
        "dead_slices",
        "slices that are constant at all times, next to one that shows a brain",
        "slices",
        "a scanner measures noise at least; a slab may end above a skull-stripped brain",
        warn=(0, 0),
    ),
    Check(
        "repeated_frames",
        "frames that are an earlier one, voxel by voxel",
        "frames",
        "noise never repeats",
        warn=(0, 0),
    ),
    Check(
        "frame_jump",
        "largest distance of the brain's mean from the mean of the frames before and after",
        "HU",
        f"up to 1.6 in {_PHANTOM} at 1 to 2 s; the whole passage is 2 to 17 HU",
        warn=(0, 5),
        refuse=(0, 25),
    ),
    Check(
        "frame_order",
        "all ups and downs of the brain's mean over its range: a bolus comes and goes once",
        "fold",
        f"2 by definition, 1.8 to 2.4 in {_PHANTOM}, above 10 with the frames in a random order",
        warn=(0, 2.6),
        refuse=(0, 5),
    ),
    Check(
        "reversed_time",
        "vessels that begin above their end and rise more slowly than they fall, the lesser share of their height",
        "of the height",
        f"contrast comes fast, leaves slowly, stays in part: below -0.27 in {_PHANTOM}, above 0.02 in 9 of 10 reversed",
        warn=(-1, -0.1),
        refuse=(-1, 0),
    ),
    Check(
        "brain_hu",
        "median attenuation of the brain",
        "HU",
        "between white matter, 25 HU at least, and gray matter, 42 HU and more at 80 kV; an offset, a factor or "
        "another organ lies beyond",
        warn=(24, 55),
        refuse=(0, 110),
    ),
    Check(
        "tissue_enhancement",
        "rise of the brain's mean, smoothed",
        "HU",
        f"2 to 17 in {_PHANTOM}, 0.1 without contrast; 300 HU in 4 % of the brain make 12, other organs take more",
        warn=(1.5, 25),
        refuse=(0.5, math.inf),
    ),
    Check(
        "brain_section",
        "largest area of the brain in a slice",
        "cm2",
        "an oval of 17 x 14 cm has 187, one of 18.5 x 16 cm 232; twice the pixel size makes it four times as large",
        warn=(40, 260),
        refuse=(1, 400),
    ),
    Check(
        "cut_brain",
        "longest straight edge of the brain along rows or columns, over its extent there",
        "of the extent",
        f"0.13 to 0.33 in {_PHANTOM}, above 0.9 for half a head",
        warn=(0, 0.6),
    ),
    Check(
        "pixel_noise",
        "noise of single voxels in the brain, as if of 0.9 x 0.9 x 10 mm",
        "HU",
        f"2 to 8 HU are usual for CTP at 80 kV; up to 8 in {_PHANTOM}",
        warn=(0, 9),
    ),
    Check(
        "saturation",
        "largest value of vessels, or of the brain if above 3000",
        "HU",
        "12-bit CT numbers end at 3071",
        warn=(-1100, 3000),
    ),
    Check(
        "ceiling",
        "share of the brightest vessel voxels with one and the same largest value",
        "of the voxels",
        f"below 0.2 in {_PHANTOM}; noise leaves no two alike, a ceiling makes all alike",
        warn=(0, 0.5),
    ),
    Check(
        "slab_step",
        "by how much every other slice is late, less twice its standard error",
        "s",
        f"up to 0.27 in {_PHANTOM}; scans that alternate between two positions differ by one or more",
        warn=(0, 0.35),
    ),
)

MAP_CHECKS = (
    Check(
        "no_contrast",
        "peak of the arterial curve",
        "HU",
        "arteries of a contrast examination rise by 100 to 500 HU",
        refuse=(8, math.inf),
    ),
    Check(
        "contrast_to_noise",
        "peak of the arterial curve over its noise",
        "fold",
        "the best curve of noise alone has 3",
        refuse=(5, math.inf),
    ),
    Check("weak_aif", "peak of the arterial curve", "HU", _CHOICE, warn=(60, math.inf)),
    Check("bright_aif", "peak of the arterial curve", "HU", "more is bone, metal or movement", warn=(0, 600)),
    Check(
        "aif_width",
        "full width at half maximum of the arterial curve",
        "s",
        "injections of 5 to 10 s; 3 s is no bolus, 25 s no first pass",
        warn=(3, 25),
    ),
    Check("aif_in_bone", "attenuation of the arterial voxels before contrast", "HU", "blood 30-60", warn=(0, 130)),
    Check(
        "no_vof", "voxels of the venous output function", "voxels", "without them the scale is 1", warn=(1, math.inf)
    ),
    Check("partial_volume_aif", "factor that raises the arterial to the venous area", "fold", _CHOICE, warn=(0, 2.5)),
    Check("late_contrast", "arrival of contrast in the artery", "s", _CHOICE, warn=(0, 25)),
    Check("missing_baseline", "frames before contrast", "frames", _CHOICE, warn=(2, math.inf)),
    Check(
        "truncated_series",
        "mean of the last three frames of artery or vein over the peak",
        "of the peak at the end",
        "the whole fall of the venous curve takes 60-70 s (Kasasbeh 2016, PMC5134896)",
        warn=(-math.inf, 0.35),
    ),
    Check(
        "short_after_peak",
        "time from the arterial peak to the last frame",
        "s",
        "90 % of scans need 53 s in all, 10 s of them before contrast (Kasasbeh 2016); in the 10 s after the arterial "
        "peak, tissue that is 6 s late does not show",
        warn=(20, math.inf),
        refuse=(10, math.inf),
    ),
    Check(
        "clipped_aif",
        "frames at which most arterial voxels hold the largest value of the series",
        "frames",
        "noise leaves no two values alike; a ceiling of the detector or of the file does",
        warn=(0, 1),
    ),
    Check(
        "flat_aif",
        "frames at which most arterial voxels hold their own largest value",
        "frames",
        "as above; rounding to whole HU leaves up to three",
        warn=(0, 3),
    ),
    Check(
        "uncertain_scale",
        "standard deviation of the factor that raises the arterial to the venous area, over the factor",
        "of the factor",
        "flow and volume are as uncertain; a choice",
        warn=(0, 0.3),
    ),
    Check(
        "motion",
        "largest displacement of a frame, by a coarse registration that errs by 2 mm",
        "mm",
        "a head that moved so far has left its slices",
        warn=(0, 4),
    ),
    Check(
        "lost_frames",
        "frames left out: moved by more than 0.3 of a slice through the plane, or without an image",
        "frames",
        "nothing of them is used; a few do no harm",
        warn=(0, 0),
    ),
    Check(
        "passage_gap",
        "longest time without a frame in the 25 s after contrast arrives",
        "s",
        "twice 2.5 s, the longest interval without a warning; a choice",
        warn=(0, 5),
    ),
    Check("residual_motion", "largest displacement of a frame, by the curves", "mm", _CHOICE, warn=(0, 2)),
    Check(
        "noise",
        "noise of the smoothed curves over the peak of tissue",
        "of the tissue's peak",
        f"{_CHOICE}: 0.1 to 0.6 in {_PHANTOM}, above 0.4 in 3; above twice the peak nothing can be read",
        warn=(0, 0.4),
        refuse=(0, 2),
    ),
    Check("small_coverage", "volume of the brain", "ml", f"{_CHOICE}; a brain has 1,100 to 1,500", warn=(150, 1900)),
    Check(
        "normal_tissue",
        "share of the tissue with Tmax below 4 s",
        "of the tissue",
        "one territory of one side is at most 45 %; without normal tissue there is nothing to compare flow with",
        warn=(0.3, 1),
        refuse=(0.01, 1),
    ),
    Check("reference_cbf", "median CBF of normal tissue", "ml/100 g/min", _LEENDERS, warn=(15, 90)),
    Check("reference_cbv", "median CBV of normal tissue", "ml/100 g", _LEENDERS, warn=(1.2, 8)),
    Check("reference_mtt", "median MTT of normal tissue", "s", f"60 CBV / CBF: 6 to 7 s; {_LEENDERS}", warn=(2, 12)),
)


def check_series(
    series: Tensor,
    times_s: float | Sequence[float] | None,
    spacing_mm: Spacing,
    survey: Survey | None = None,
    slice_times_s: Tensor | None = None,
) -> list[QualityWarning]:
    """List what is wrong with a series, whatever is made of it.

    Args:
        series: (T, H, W, D) in HU.
        times_s: time between frames in s, or the time of every frame; None where it is not known.
        spacing_mm: voxel size along H, W and D.
        survey: of this series, if there is one already.
        slice_times_s: (D, T) times of the slices, where they have their own.

    Returns:
        The findings by `SERIES_CHECKS`, those that make the examination unusable first.
    """
    survey = survey or survey_series(series, spacing_mm)
    measured = frame_numbers(series, survey) | brain_numbers(survey)
    if times_s is not None:
        by_time = time_numbers(times_s, len(series))
        measured |= by_time
        if not fatal_text(findings(SERIES_CHECKS, by_time)):  # times that no scan has would overflow
            measured["slab_step"] = slab_step_s(survey, frame_times(times_s, len(series)), slice_times_s)
    found = findings(SERIES_CHECKS, measured)
    nothing_passes = any(finding.name == "tissue_enhancement" and finding.fatal for finding in found)
    return [f for f in found if not (nothing_passes and f.name in ("frame_order", "reversed_time"))]


def check_maps(series: Tensor, maps: PerfusionVolumes, spacing_mm: Spacing) -> list[QualityWarning]:
    """List what computed maps and their arterial curve show, by `MAP_CHECKS`; arguments as of `check_quality`."""
    arterial, times_s = maps.arterial, maps.times_s
    lost = maps.motion.lost
    kept = series[~lost] if lost.any() else series
    artery = arterial_quality(kept, arterial, times_s)
    features = curve_features(arterial.aif_hu[:, None], times_s)
    arrival_s = float(features.arrival_s)
    tails = [
        float(curve[-3:].mean() / curve.max()) for curve in (arterial.aif_hu, arterial.vof_hu) if float(curve.max()) > 0
    ]
    measured = {
        "no_contrast": artery.peak_hu,
        "weak_aif": artery.peak_hu,
        "bright_aif": artery.peak_hu,
        "aif_width": artery.fwhm_s,
        "clipped_aif": artery.ceiling_frames,
        "flat_aif": artery.plateau_frames,
        "partial_volume_aif": arterial.scale,
        "late_contrast": arrival_s,
        "missing_baseline": maps.n_baseline,
        "truncated_series": max(tails, default=0.0),
        "short_after_peak": float(times_s[-1] - features.peak_s),
        "motion": float(maps.motion.in_plane_mm.max()),
        "lost_frames": float(lost.sum()),
        "passage_gap": longest_gap_s(lost, maps.series_times_s, arrival_s, arrival_s + _PASSAGE_S),
        "residual_motion": float(maps.motion_mm.max()),
        "noise": maps.noise_ratio,
        "small_coverage": float(maps.brain.sum()) * math.prod(spacing_mm) / 1000,
    }
    if not math.isnan(arterial.scale_sd):
        measured["uncertain_scale"] = arterial.scale_sd / arterial.scale
    if arterial.aif_mask.any():  # a curve that was given has no voxels
        curve = kept[:, arterial.aif_mask].float().mean(dim=1)
        bend = curve[2:] - 2 * curve[1:-1] + curve[:-2]
        noise_hu = float((bend.square().mean() / 6).sqrt())  # the variance of a second difference is 1 + 4 + 1 times
        measured["contrast_to_noise"] = artery.peak_hu / max(noise_hu, 1e-3)
        measured["aif_in_bone"] = float(mean_over_time(kept[: maps.n_baseline])[arterial.aif_mask].mean())
        measured["no_vof"] = float(arterial.vof_mask.sum())
    found = findings(MAP_CHECKS, measured)
    normal = maps.tissue & (maps.tmax < 4) & (maps.cbf > 0)
    share = float(normal.sum()) / max(float(maps.tissue.sum()), 1.0)
    found += findings(MAP_CHECKS, {"normal_tissue": share})
    if normal.any():
        found += check_reference(*(float(volume[normal].median()) for volume in (maps.cbf, maps.cbv, maps.mtt)))
    return sorted(found, key=lambda finding: not finding.fatal)


def check_reference(cbf: float, cbv: float, mtt_s: float | None = None) -> list[QualityWarning]:
    """What is implausible in the flow of normal tissue: CBF in ml/100 g/min, CBV in ml/100 g, MTT in s."""
    measured = {"reference_cbf": cbf, "reference_cbv": cbv}
    return findings(MAP_CHECKS, measured if mtt_s is None else measured | {"reference_mtt": mtt_s})


def check_quality(series: Tensor, maps: PerfusionVolumes, spacing_mm: Spacing) -> list[QualityWarning]:
    """List what is wrong with an examination: `check_series`, then `check_maps`.

    Args:
        series: (T, H, W, D) in HU.
        maps: what `perfusion_maps` made of it.
        spacing_mm: voxel size along H, W and D.

    Returns:
        The findings, those that make the examination unusable first.
    """
    found = check_series(series, maps.series_times_s.tolist(), spacing_mm, slice_times_s=maps.slice_times_s)
    found += check_maps(series, maps, spacing_mm)
    return sorted(found, key=lambda finding: not finding.fatal)


def refuse_unusable(warnings: Sequence[QualityWarning]) -> None:
    """Raise ValueError if one of the findings makes the examination unusable."""
    if fatal := fatal_text(warnings):
        raise ValueError(f"series must show the passage of contrast through a brain, got {fatal}")
