"""The gate for series and given maps: each attack is refused or warned of by name, an honest case passes in silence.

All of it goes through `PerfusionMapsd`, with the phantom's vendor maps given, as a case of ISLES 2018 has them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import Tensor

from scripts.io.errors import CaseError
from scripts.perfusion import (
    PerfusionMapsd,
    PerfusionVolumes,
    check_maps,
    check_quality,
    check_reference,
    perfusion_maps,
)
from scripts.perfusion.enhancement import frame_times
from scripts.perfusion.given_maps import GIVEN_CHECKS, check_given_maps
from scripts.perfusion.quality import MAP_CHECKS, SERIES_CHECKS, check_series
from scripts.perfusion.survey import slab_step_s, survey_series
from scripts.phantom.case import sample_patient, sample_scan, simulate_case

from .head import SPACING_MM, head

KEYS = ("cbf", "cbv", "mtt", "tmax")
GENERATOR = torch.Generator().manual_seed(0)


@dataclass(frozen=True)
class Examination:
    series: Tensor
    maps: dict[str, Tensor]
    dt_s: float
    spacing_mm: tuple[float, float, float]


def phantom(seed: int, matrix: int = 96) -> Examination:
    case = simulate_case(
        sample_patient(np.random.SeedSequence(seed, spawn_key=(0,))),
        sample_scan(np.random.SeedSequence(seed, spawn_key=(1,))),
        matrix,
    )
    stored = np.asfortranarray(case.series.hu.transpose(1, 2, 3, 0).astype(np.float32))
    size = [float(mm) for mm in case.grid.spacing_mm]
    times_s = case.series.frame_times_s
    maps = {key: torch.from_numpy(np.asarray(getattr(case.maps, key), np.float32)) for key in KEYS}
    return Examination(
        torch.from_numpy(stored).permute(3, 0, 1, 2), maps, float(times_s[1] - times_s[0]), (size[0], size[1], size[2])
    )


@pytest.fixture(scope="module", params=[12, 13], ids=["skull", "stripped"])
def honest(request: pytest.FixtureRequest) -> Examination:
    """A case of 7 slices with a skull and one of 8 without."""
    return phantom(request.param)


@pytest.fixture(scope="module")
def maps() -> PerfusionVolumes:
    return perfusion_maps(head(stripped=False)[0], 1.0, SPACING_MM, smoothing_mm=3.0)


def outcome(case: Examination) -> tuple[str, str]:
    """What the transform says of a case whose maps are all given: what it refuses it for, what it warns of."""
    affine = torch.diag(torch.tensor([*case.spacing_mm, 1.0], dtype=torch.float64))
    given_maps = {key: MetaTensor(value[None], affine=affine) for key, value in case.maps.items()}
    data = {"image": MetaTensor(case.series, affine=affine), "case": "one", "dt_s": case.dt_s, **given_maps}
    try:
        return "", PerfusionMapsd()(data)["warnings"]
    except CaseError as error:
        return str(error), ""


def changed(change: Callable[[Tensor], Tensor | None]) -> Callable[[Examination], Examination]:
    def attack(case: Examination) -> Examination:
        series = case.series.clone()
        result = change(series)
        return replace(case, series=series if result is None else result)

    return attack


def with_maps(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Examination], Examination]:
    return lambda case: replace(case, maps={**case.maps, **change(case.maps)})


def set_frames(frames: slice | int, value: float) -> Callable[[Examination], Examination]:
    def change(series: Tensor) -> None:
        series[frames] = value

    return changed(change)


def half(axis: int) -> Callable[[Examination], Examination]:
    def change(series: Tensor) -> None:
        series.narrow(axis, 0, series.shape[axis] // 2).fill_(float(series[0].min()))

    return changed(change)


def voxel(series: Tensor) -> None:
    series[20, series.shape[1] // 2, series.shape[2] // 2, 1] = 3e38


def copied(series: Tensor) -> None:
    series[20] = series[3]


def brighter(series: Tensor) -> None:
    series[20] += 200


def moved(series: Tensor) -> Tensor:
    order = list(range(len(series)))
    order.insert(2, order.pop(18))
    return series[order]


def clipped(series: Tensor) -> Tensor:
    return series.clamp(max=0.6 * float(survey_series(series, (2.5, 2.5, 10.0)).brightest.max()))


def overflowing(series: Tensor) -> None:
    """Arteries 3000 HU brighter in the frame of their peak; what is as bright all the time is bone and left out."""
    brightest = survey_series(series, (2.5, 2.5, 10.0)).brightest
    frame = int(brightest.amax(dim=1).argmax())
    series[frame][series[frame] == brightest.max()] += 3000


def interleaved(case: Examination) -> Examination:
    """Every other slice 0.8 s later, by linear interpolation."""
    share = 0.8 / case.dt_s
    series = case.series.clone()
    late = slice(1, None, 2)
    series[1:, ..., late] = (1 - share) * case.series[1:, ..., late] + share * case.series[:-1, ..., late]
    return replace(case, series=series)


def without_slice(series: Tensor) -> None:
    series[..., 0] = 0


def spiked(volume: Tensor) -> Tensor:
    volume = volume.clone()
    volume[tuple(size // 2 for size in volume.shape)] = 1e30
    return volume


def noise(level_hu: float) -> Callable[[Tensor], Tensor]:
    return lambda series: level_hu + 5 * torch.randn(series.shape, generator=GENERATOR)


def without_contrast(series: Tensor) -> Tensor:
    return series[:1] + 3 * torch.randn(series.shape, generator=GENERATOR)


def abdomen(case: Examination) -> Examination:
    """A trunk of 34 x 24 cm with fat, a spine and an aorta, whose organs take up 35 HU."""
    h, w = np.meshgrid(np.linspace(-20, 20, 96), np.linspace(-20, 20, 96), indexing="ij")
    body, organs = np.hypot(h / 17, w / 12) < 1, np.hypot(h / 15, w / 10) < 1
    base = np.where(organs, 50.0, np.where(body, -100.0, -1000.0))
    base[np.hypot(h, w + 7) < 2] = 400
    time_s = np.arange(45) * 1.0
    bolus = np.exp(-0.5 * ((time_s - 14) / 4) ** 2)
    slow = np.convolve(bolus, np.exp(-time_s / 12))[:45]
    series = base[None] + 35 * (slow / slow.max())[:, None, None] * organs
    series[:, np.hypot(h, w + 4) < 1] = 45 + 300 * bolus[:, None]
    volume = np.repeat(series[..., None], 4, axis=3) + np.random.default_rng(0).normal(0, 4, (45, 96, 96, 4))
    return Examination(torch.from_numpy(volume).float(), {}, 1.0, (400 / 96, 400 / 96, 8.0))


REFUSED, WARNED = True, False
ATTACKS: dict[str, tuple[Callable[[Examination], Examination], str, bool]] = {
    "a voxel of 3e38": (changed(voxel), "values", REFUSED),
    "ten zero frames at the end": (set_frames(slice(-10, None), 0.0), "dead_frames", REFUSED),
    "an empty slice": (changed(without_slice), "dead_slices", WARNED),
    "one zero frame": (set_frames(9, 0.0), "dead_frames", REFUSED),
    "a copied frame": (changed(copied), "repeated_frames", WARNED),
    "200 HU in a frame": (changed(brighter), "frame_jump", REFUSED),
    "a frame elsewhere": (changed(moved), "frame_order", WARNED),
    "shuffled frames": (
        changed(lambda s: s[torch.randperm(len(s), generator=GENERATOR)]),
        "frame_order",
        REFUSED,
    ),
    "reversed frames": (changed(lambda s: s.flip(0)), "reversed_time", REFUSED),
    "half a head": (half(1), "cut_brain", WARNED),
    "the front of a head": (half(2), "cut_brain", WARNED),
    "1500 s a frame": (lambda case: replace(case, dt_s=1500.0), "frame_interval", REFUSED),
    "1.5 ms a frame": (lambda case: replace(case, dt_s=0.0015), "frame_interval", REFUSED),
    "3 s a frame": (lambda case: replace(case, dt_s=3.0), "frame_interval", WARNED),
    "20 s in all": (lambda case: replace(case, dt_s=20 / len(case.series)), "duration", WARNED),
    "pixels of twice the size": (
        lambda case: replace(case, spacing_mm=tuple(2 * mm for mm in case.spacing_mm)),
        "brain_section",
        REFUSED,
    ),
    "40 HU more": (changed(lambda s: s + 40), "brain_hu", WARNED),
    "1024 HU more": (changed(lambda s: s + 1024), "brain_hu", REFUSED),
    "half the HU": (changed(lambda s: s / 2), "brain_hu", WARNED),
    "twice the HU": (changed(lambda s: s * 2), "brain_hu", WARNED),
    "noise": (changed(noise(35)), "tissue_enhancement", REFUSED),
    "water": (changed(noise(0)), "tissue_enhancement", REFUSED),
    "no contrast": (changed(without_contrast), "tissue_enhancement", REFUSED),
    "an abdomen": (abdomen, "brain_section", REFUSED),
    "an abdomen's enhancement": (abdomen, "tissue_enhancement", WARNED),
    "three times the noise": (
        changed(lambda s: s + 10 * torch.randn(s.shape, generator=GENERATOR)),
        "pixel_noise",
        WARNED,
    ),
    "a ceiling": (changed(clipped), "ceiling", WARNED),
    "an artery beyond the range": (changed(overflowing), "saturation", WARNED),
    "slabs in turn": (interleaved, "slab_step", WARNED),
    "a mirrored series": (changed(lambda s: s.flip(1)), "mirrored", REFUSED),
    "a series upside down": (changed(lambda s: s.flip(2)), "mirrored", REFUSED),
    "CBF of 0": (with_maps(lambda m: {"cbf": 0 * m["cbf"]}), "cbf_range", REFUSED),
    "Tmax of 3 s": (with_maps(lambda m: {"tmax": 0 * m["tmax"] + 3}), "constant_maps", WARNED),
    "-30 s outside": (
        with_maps(lambda m: {"tmax": torch.where(m["cbf"] > 0, m["tmax"], -30.0)}),
        "negative_values",
        WARNED,
    ),
    "a voxel of 1e30": (with_maps(lambda m: {"cbf": spiked(m["cbf"])}), "map_values", REFUSED),
    "no delay": (with_maps(lambda m: {"tmax": 0.001 * m["tmax"]}), "late_tmax", WARNED),
    "one map elsewhere": (with_maps(lambda m: {"mtt": m["mtt"].roll(6, 0)}), "maps_apart", WARNED),
    "a half-size map": (
        with_maps(lambda m: {k: torch.roll(v, (v.shape[0] // 2,), (0,)) for k, v in m.items()}),
        "maps_outside",
        WARNED,
    ),
    "MTT for Tmax": (with_maps(lambda m: {"mtt": m["tmax"], "tmax": m["mtt"]}), "central_volume", WARNED),
    "CBF for CBV": (with_maps(lambda m: {"cbf": m["cbv"], "cbv": m["cbf"]}), "cbf_range", WARNED),
    **{
        f"1000 times the {key.upper()}": (with_maps(lambda m, k=key: {k: 1000 * m[k]}), f"{key}_range", REFUSED)
        for key in ("cbf", "cbv", "mtt")
    },
    "Tmax in ms": (with_maps(lambda m: {"tmax": 1000 * m["tmax"] + 500}), "tmax_range", REFUSED),
    **{
        f"noise for {key.upper()}": (
            with_maps(lambda m, k=key: {k: torch.rand(m[k].shape, generator=GENERATOR) * m[k].max()}),
            f"{key}_agreement",
            WARNED,
        )
        for key in ("cbf", "cbv", "tmax")
    },
    "MTT turned around": (with_maps(lambda m: {"mtt": (20 - m["mtt"]).clamp_min(0)}), "mtt_agreement", WARNED),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_or_warned_of_by_name(honest: Examination, name: str) -> None:
    attack, check, fatal = ATTACKS[name]
    refused, warned = outcome(attack(honest))
    if fatal:
        assert refused.startswith("case 'one', image: expected")
        assert f"{check}: " in refused
        return
    if refused:  # something else about it is worse: what is warned of is found, too
        case = attack(honest)
        survey = survey_series(case.series, case.spacing_mm)
        found = [*check_series(case.series, case.dt_s, case.spacing_mm, survey)]
        found += check_given_maps(case.maps, survey) if case.maps else []
        warned = "; ".join(map(str, found))
    assert f"{check}: " in warned


def test_an_honest_case_passes_in_silence(honest: Examination) -> None:
    assert outcome(honest) == ("", "")


def test_every_check_has_its_attack() -> None:
    gaps = {"largest_gap"}  # see the test of uneven times
    assert {check for _, check, _ in ATTACKS.values()} | gaps == {
        check.name for check in (*SERIES_CHECKS, *GIVEN_CHECKS)
    }
    assert SPOILED.keys() | SPOILED_SERIES.keys() == {check.name for check in MAP_CHECKS}


def test_a_gap_in_the_times_is_named(honest: Examination) -> None:
    times = np.arange(len(honest.series)) * honest.dt_s

    def names(gap_s: float) -> dict[str, bool]:
        late = times + gap_s * (np.arange(len(times)) > 20)
        return {f.name: f.fatal for f in check_series(honest.series, late.tolist(), honest.spacing_mm)}

    assert names(0.0) == names(10.0) == {}
    assert names(20.0) == {"largest_gap": False}
    assert names(1e6)["largest_gap"]


def test_the_step_between_slabs_is_measured(honest: Examination) -> None:
    case = interleaved(honest)
    found = slab_step_s(survey_series(case.series, case.spacing_mm), frame_times(case.dt_s, len(case.series)))
    assert 0.4 < found <= 0.85


def _arterial(**change: object) -> Callable[[PerfusionVolumes], PerfusionVolumes]:
    return lambda maps: maps._replace(arterial=maps.arterial._replace(**change))


def _scaled_aif(factor: float) -> Callable[[PerfusionVolumes], PerfusionVolumes]:
    return lambda maps: _arterial(aif_hu=factor * maps.arterial.aif_hu)(maps)


def _spike(maps: PerfusionVolumes) -> PerfusionVolumes:
    curve = torch.zeros_like(maps.arterial.aif_hu)
    curve[12] = 300
    return _arterial(aif_hu=curve, vof_hu=curve)(maps)


def _bone(maps: PerfusionVolumes) -> PerfusionVolumes:
    return _arterial(aif_mask=head(stripped=False)[0][0] > 500)(maps)


def _held(maps: PerfusionVolumes) -> PerfusionVolumes:
    aif_hu = maps.arterial.aif_hu
    return _arterial(aif_hu=torch.where(torch.arange(len(aif_hu)) > int(aif_hu.argmax()), aif_hu.max(), aif_hu))(maps)


def _normal(**factors: float) -> Callable[[PerfusionVolumes], PerfusionVolumes]:
    return lambda maps: maps._replace(**{key: factor * getattr(maps, key) for key, factor in factors.items()})


def _late(maps: PerfusionVolumes) -> PerfusionVolumes:
    return _arterial(aif_hu=maps.arterial.aif_hu.roll(23))(maps)


def _without(*frames: int) -> Callable[[PerfusionVolumes], PerfusionVolumes]:
    """The maps as if these frames had been lost."""

    def change(maps: PerfusionVolumes) -> PerfusionVolumes:
        lost = maps.motion.lost.clone()
        lost[list(frames)] = True
        curves = {"aif_hu": maps.arterial.aif_hu[~lost], "vof_hu": maps.arterial.vof_hu[~lost]}
        kept = maps._replace(motion=maps.motion._replace(lost=lost), times_s=maps.times_s[~lost])
        return _arterial(**curves)(kept)

    return change


SPOILED: dict[str, Callable[[PerfusionVolumes], PerfusionVolumes]] = {
    "no_contrast": _scaled_aif(0.02),
    "contrast_to_noise": _scaled_aif(0.003),
    "weak_aif": _scaled_aif(0.15),
    "bright_aif": _scaled_aif(3),
    "aif_width": _spike,
    "aif_in_bone": _bone,
    "no_vof": lambda maps: _arterial(vof_mask=torch.zeros_like(maps.brain))(maps),
    "partial_volume_aif": lambda maps: _arterial(scale=3.0)(maps),
    "late_contrast": _late,
    "missing_baseline": lambda maps: maps._replace(n_baseline=1),
    "truncated_series": _held,
    "short_after_peak": _late,
    "motion": lambda maps: maps._replace(motion=maps.motion._replace(in_plane_mm=maps.motion.in_plane_mm + 5)),
    "lost_frames": _without(30),
    "passage_gap": _without(*range(12, 18)),
    "uncertain_scale": _arterial(scale=2.0, scale_sd=0.8),
    "residual_motion": lambda maps: maps._replace(motion_mm=maps.motion_mm + 3),
    "noise": lambda maps: maps._replace(noise_ratio=0.7),
    "small_coverage": lambda maps: maps._replace(brain=maps.brain & (torch.arange(80) < 40)[:, None, None]),
    "few_slices": lambda maps: maps._replace(brain=maps.brain & (torch.arange(maps.brain.shape[2]) < 1)),
    "normal_tissue": lambda maps: maps._replace(tmax=maps.tmax + 4),
    "reference_cbf": _normal(cbf=0.2),
    "reference_cbv": _normal(cbv=0.2),
    "reference_mtt": _normal(mtt=4),
}


def _ceiling(series: Tensor, artery: Tensor) -> None:
    series.clamp_(max=0.6 * float(series[:, artery].max()))


def _plateau(series: Tensor, artery: Tensor) -> None:
    series[:, artery] = series[:, artery].clamp(max=0.6 * float(series[:, artery].max()))


SPOILED_SERIES = {"clipped_aif": _ceiling, "flat_aif": _plateau}


@pytest.mark.parametrize("name", [*SPOILED, *SPOILED_SERIES])
def test_each_check_of_maps_trips(maps: PerfusionVolumes, name: str) -> None:
    series = head(stripped=False)[0]
    if name in SPOILED_SERIES:
        SPOILED_SERIES[name](series, maps.arterial.aif_mask)
    found = check_maps(series, SPOILED.get(name, lambda maps: maps)(maps), SPACING_MM)
    assert name in {finding.name for finding in found}


def test_no_check_of_maps_trips_without_a_reason(maps: PerfusionVolumes) -> None:
    assert check_maps(head(stripped=False)[0], maps, SPACING_MM) == []


def test_a_brain_without_normal_tissue_is_refused(maps: PerfusionVolumes) -> None:
    spoiled = maps._replace(cbf=0 * maps.cbf + 3, tmax=0 * maps.tmax + 9)
    found = {finding.name: finding for finding in check_quality(head(stripped=False)[0], spoiled, SPACING_MM)}
    assert found["normal_tissue"].fatal
    assert found["normal_tissue"].value == 0


@pytest.mark.parametrize(("cbf", "named"), [(8.0, True), (141.0, True), (35.0, False), (60.0, False)])
def test_flow_of_normal_tissue_out_of_range_is_named(cbf: float, named: bool) -> None:
    found = [finding.name for finding in check_reference(cbf, 3.5)]
    assert found == (["reference_cbf"] if named else [])
    assert [finding.fatal for finding in check_reference(math.nan, math.nan)] == [False, False]


SMALL = phantom(17, 64)


@functools.cache
def _usual_late_ml() -> float:
    return _late_ml(SMALL.series)


def _late_ml(series: Tensor) -> float:
    found = perfusion_maps(series, SMALL.dt_s, SMALL.spacing_mm)
    return float(((found.tmax > 6) & found.tissue).sum()) * math.prod(SMALL.spacing_mm) / 1000


@settings(max_examples=30)
@given(
    kind=st.sampled_from(["zero", "copy", "brighter", "moved"]),
    frame=st.integers(0, len(SMALL.series) - 1),
    other=st.integers(0, len(SMALL.series) - 1),
)
def test_a_spoiled_frame_is_named_or_changes_little(kind: str, frame: int, other: int) -> None:
    """Distance: 10 ml or a fifth of the volume of Tmax > 6 s, whichever is more."""
    series = SMALL.series.clone()
    if kind == "moved":
        order = list(range(len(series)))
        order.insert(other, order.pop(frame))
        series = series[order]
    else:
        series[frame] = {"zero": 0 * series[0], "copy": SMALL.series[other], "brighter": series[frame] + 200}[kind]
    if check_series(series, SMALL.dt_s, SMALL.spacing_mm):
        return
    before_ml = _usual_late_ml()
    assert abs(_late_ml(series) - before_ml) <= max(10, 0.2 * before_ml)
