"""Slices with times of their own: delays of all of them are on one clock, whatever the order they are taken in."""

from typing import Any

import numpy as np
import pytest
import torch

from scripts.perfusion import PerfusionVolumes, perfusion_maps
from scripts.perfusion.bayesian import BayesianEstimator, fit_shapes
from scripts.perfusion.maps import Method
from scripts.perfusion.quality import check_quality, check_series
from scripts.perfusion.slice_timing import at_frame_times, frame_and_slice_times, slabs, slice_times

from .curves import arterial_curve, tissue_curve
from .slices import ARTERY, LATE, LATE_S, NORMAL, NORMAL_S, SPACING_MM, jog, sampled_head, shuttle

INTERVAL_S, OFFSET_S = 3.0, 1.5


def frames(times_s: np.ndarray) -> list[float]:
    """The times of the frames that go with those of the slices."""
    means = times_s.mean(axis=0)
    return (means - means[0]).tolist()


def maps_of(series: torch.Tensor, times_s: np.ndarray, use: bool = True, **options: Any) -> PerfusionVolumes:
    """Maps without motion correction, which takes half of a brain that brightens for a movement."""
    given = torch.from_numpy(times_s) if use else None
    options = {"motion_correction": False, **options}
    return perfusion_maps(series, frames(times_s), SPACING_MM, slice_times_s=given, **options)


def by_slice(volume: torch.Tensor, region: tuple[slice, slice]) -> list[float]:
    return [float(values.median()) for values in volume[region].flatten(0, 1).T]


@pytest.fixture(scope="module")
def jogged() -> torch.Tensor:
    return sampled_head(jog())


@pytest.fixture(scope="module")
def of_jog(jogged: torch.Tensor) -> PerfusionVolumes:
    return maps_of(jogged, jog())


def test_two_slabs_in_turn_have_the_same_delays(of_jog: PerfusionVolumes) -> None:
    """The artery is in the lower slab alone, and the upper one is half of an interval of 3 s later."""
    assert by_slice(of_jog.tmax, NORMAL) == pytest.approx([NORMAL_S] * 4, abs=0.3)
    assert by_slice(of_jog.tmax, LATE) == pytest.approx([LATE_S] * 4, abs=0.3)
    for region in (NORMAL, LATE):
        flows = by_slice(of_jog.cbf, region)
        assert flows == pytest.approx([flows[0]] * 4, rel=0.05)
    assert not of_jog.motion.lost.any()


def test_without_the_times_one_slab_is_off_by_the_offset(jogged: torch.Tensor) -> None:
    found = maps_of(jogged, jog(), use=False)
    for region, delay_s in ((NORMAL, NORMAL_S), (LATE, LATE_S)):
        expected = [delay_s, delay_s, delay_s - OFFSET_S, delay_s - OFFSET_S]
        assert by_slice(found.tmax, region) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("method", ["osvd", "ssvd"])
def test_deconvolution_has_one_clock_too(jogged: torch.Tensor, method: Method) -> None:
    """Its delays are in steps of the frames, so slabs are compared with each other."""
    for use, apart_s in ((True, (0.0, 0.5)), (False, (1.2, 3.1))):
        lower, _, upper, _ = by_slice(maps_of(jogged, jog(), use, method=method).tmax, NORMAL)
        assert apart_s[0] <= lower - upper + 0.25 * use <= apart_s[1], (use, lower, upper)


def test_a_table_that_goes_up_and_down() -> None:
    """The slices at the ends have intervals of 2.6 and 0.4 s in turn."""
    times_s = shuttle()
    assert np.diff(times_s[0])[:2] == pytest.approx([2.625, 0.375])
    series = sampled_head(times_s)
    found, ignored = maps_of(series, times_s), maps_of(series, times_s, use=False)
    for region, delay_s in ((NORMAL, NORMAL_S), (LATE, LATE_S)):
        assert by_slice(found.tmax, region) == pytest.approx([delay_s] * 4, abs=0.3)
    assert by_slice(found.cbf, NORMAL) == pytest.approx([50.0] * 4, rel=0.06)
    assert by_slice(ignored.cbf, NORMAL)[0] < 40  # what the times are for


def test_times_to_peak_are_those_of_the_samples(of_jog: PerfusionVolumes) -> None:
    times_s = jog() - jog()[:, 0].mean()
    for index in range(4):
        peaks = of_jog.ttp[..., index][of_jog.tissue[..., index]]
        assert torch.isin(peaks[peaks != 0], torch.from_numpy(times_s[index]).float()).all()
    assert of_jog.slice_times_s is not None
    np.testing.assert_allclose(of_jog.slice_times_s, times_s, atol=1e-5)
    assert of_jog.times_s.tolist() == pytest.approx(frames(jog()))


@pytest.mark.parametrize("turned", [False, True])
def test_slices_that_share_all_times_are_as_without_them(turned: bool) -> None:
    times_s = np.tile(1.5 * np.arange(36), (3, 1))
    series = sampled_head(times_s)
    series = series.flip(3) if turned else series
    with_times, without = maps_of(series, times_s), maps_of(series, times_s, use=False)
    for name in ("cbf", "cbv", "mtt", "tmax", "ttp", "tmax_sd", "baseline", "motion_mm"):
        assert torch.equal(getattr(with_times, name), getattr(without, name)), name


def test_slices_in_the_other_order_give_the_same_maps(jogged: torch.Tensor, of_jog: PerfusionVolumes) -> None:
    turned = maps_of(jogged.flip(3), jog()[::-1].copy())
    for name, tolerance in (("tmax", 0.1), ("cbf", 1.0)):
        difference = (getattr(turned, name).flip(2) - getattr(of_jog, name)).abs()
        assert float(difference.max()) < tolerance, name


def test_the_artery_is_at_the_times_of_its_own_slices(of_jog: PerfusionVolumes, jogged: torch.Tensor) -> None:
    clock_s = jog() - jog()[:, 0].mean()
    mask = of_jog.arterial.aif_mask
    assert mask[..., :2].any()
    assert not mask[..., 2:].any()
    assert of_jog.arterial.sampled is not None
    curve, sampled_s = of_jog.arterial.sampled
    np.testing.assert_allclose(sampled_s, clock_s[0], atol=1e-5)
    assert float(curve.max()) == pytest.approx(arterial_curve(jog()[0]).max(), rel=0.02)
    # The curve of the results is at the times of the frames, between samples.
    expected = arterial_curve(jog().mean(axis=0))
    assert float((of_jog.arterial.aif_hu - torch.from_numpy(expected)).abs().max()) < 0.12 * expected.max()


def test_arteries_of_both_slabs_are_not_mixed() -> None:
    found = maps_of(sampled_head(jog(), arteries=(0, 1, 2, 3)), jog())
    in_slabs = found.arterial.aif_mask.unflatten(2, (2, 2)).sum(dim=(0, 1, 3))
    assert int((in_slabs > 0).sum()) == 1
    assert by_slice(found.tmax, LATE) == pytest.approx([LATE_S] * 4, abs=0.3)


@pytest.mark.parametrize("source", ["voxel", "mask", "curve"])
def test_an_artery_from_the_user_is_on_the_clock(jogged: torch.Tensor, source: str) -> None:
    mask = torch.zeros(jogged.shape[1:], dtype=torch.bool)
    mask[(*ARTERY, slice(0, 2))] = True
    aif = {
        "voxel": (ARTERY[0].start, ARTERY[1].start, 0),
        "mask": mask,
        "curve": torch.from_numpy(arterial_curve(jog().mean(axis=0))).float(),
    }[source]
    found = maps_of(jogged, jog(), aif=aif)
    assert by_slice(found.tmax, LATE) == pytest.approx([LATE_S] * 4, abs=0.4)


def test_a_lost_frame_takes_its_times_along(jogged: torch.Tensor) -> None:
    series = jogged.clone()
    series[9, ..., 1] = 0.0  # a frame that lacks a slice
    found = maps_of(series, jog())
    assert found.motion.lost.nonzero().flatten().tolist() == [9]
    assert by_slice(found.tmax, NORMAL) == pytest.approx([NORMAL_S] * 4, abs=0.4)
    assert found.slice_times_s is not None
    assert found.slice_times_s.shape == (4, 21)
    assert "slab_step" not in [finding.name for finding in check_quality(series, found, SPACING_MM)]


def test_slabs_with_hardly_a_voxel_are_estimated_too() -> None:
    """One voxel, and a slice of nothing but fluid, next to a whole slice of each other time."""
    times_s = shuttle()
    series, brain = sampled_head(times_s), torch.zeros(64, 76, 4, dtype=torch.bool)
    brain[..., :2] = sampled_head(times_s, noise_hu=0.0)[0, ..., :2] != 0
    brain[40, 40, 2] = True
    brain[30:40, 30:40, 3] = True
    series[:, 30:40, 30:40, 3] = 5.0
    for method in ("bayesian", "osvd"):
        found = maps_of(series, times_s, brain=brain, method=method)
        assert by_slice(found.cbf, NORMAL)[:2] == pytest.approx(by_slice(found.cbf, NORMAL)[:1] * 2, rel=0.3)
        for name in ("cbf", "cbv", "mtt", "tmax", "ttp", "baseline"):
            assert torch.isfinite(getattr(found, name)).all(), name


def test_slices_that_are_late_as_stated_are_not_warned_of() -> None:
    alternating_s = 1.5 * np.arange(36) + 0.75 * (np.arange(8) % 2)[:, None]
    series, of_frames = sampled_head(alternating_s), frames(alternating_s)
    given = torch.from_numpy(alternating_s)

    def warned(of_slices: torch.Tensor | None) -> bool:
        found = check_series(series, of_frames, SPACING_MM, slice_times_s=of_slices)
        return "slab_step" in [finding.name for finding in found]

    assert warned(None)
    assert not warned(given)
    assert warned(given.flip(0)), "times of the wrong slices"


def test_an_estimator_at_times_other_than_the_artery_s() -> None:
    """Exact curves: the artery every 1.5 s, the tissue between its samples."""
    aif_s, tissue_s = 1.5 * torch.arange(40), 1.5 * torch.arange(40) + 0.7
    fine_s = np.arange(1400) * 0.05
    curve = tissue_curve("exponential", 40.0, 5.0, 4.0, 0.05, 1400)
    tissue = torch.from_numpy(np.interp(tissue_s, fine_s, curve)).float()[:, None]
    aif = torch.from_numpy(arterial_curve(aif_s.numpy()))
    units: Any = {"density_g_ml": 1.0, "hematocrit_factor": 1.0}
    one_clock = BayesianEstimator(aif, tissue_s, aif_times_s=aif_s, **units)(tissue, 0.05)
    assert float(one_clock.tmax) == pytest.approx(4.0, abs=0.15)
    assert float(one_clock.cbv) == pytest.approx(40 * 5 / 60, rel=0.03)
    assert float(BayesianEstimator(aif, tissue_s, **units)(tissue, 0.05).tmax) == pytest.approx(3.3, abs=0.15)
    with pytest.raises(ValueError, match=r"aif_times_s must have shape \(40,\), got \(39,\)"):
        BayesianEstimator(aif, tissue_s, aif_times_s=aif_s[1:])


def test_estimators_of_one_examination_share_the_shapes() -> None:
    """Box-shaped residues in one slab, exponential ones in the other: both expect what the two show together."""
    times_s = 1.0 * torch.arange(50)
    aif = torch.from_numpy(arterial_curve(times_s.numpy()))
    curves = [
        torch.from_numpy(np.stack([tissue_curve(kind, flow, 5.0, 2.0, 1.0, 50) for flow in (30, 40, 50)], 1)).float()
        for kind in ("box", "exponential")
    ]
    basis = torch.zeros(50), torch.eye(50)

    def preferred(*parts: torch.Tensor) -> list[torch.Tensor]:
        estimators = [BayesianEstimator(aif, times_s) for _ in parts]
        fit_shapes([(one, part, basis, 0.2) for one, part in zip(estimators, parts, strict=True)])
        return [one._models.log_shapes for one in estimators]

    together = preferred(*curves)
    assert torch.equal(*together)
    (box,), (exponential,) = (preferred(part) for part in curves)
    assert box[2] > together[0][2] > exponential[2]
    assert exponential[0] > together[0][0] > box[0]


def test_slices_are_grouped_by_their_times() -> None:
    cine = slice_times(torch.from_numpy(np.arange(20) + 0.006 * np.arange(8)[:, None]), 8, 20)
    (slab,) = slabs(cine)  # 42 ms apart at most
    assert slab.slices == slice(0, 8)
    assert slab.times_s.tolist() == pytest.approx(list(range(20)), abs=1e-4)
    lower, upper = slabs(slice_times(torch.from_numpy(jog()), 4, 21))
    assert (lower.slices, upper.slices) == (slice(0, 2), slice(2, 4))
    assert float(upper.times_s[0] - lower.times_s[0]) == pytest.approx(OFFSET_S)
    in_turn = slabs(torch.arange(10.0) + 0.5 * (torch.arange(4) % 2)[:, None])
    volume = torch.arange(24.0).reshape(2, 3, 4)
    assert [slab.of(volume)[0, 0].tolist() for slab in in_turn] == [[0, 2], [1, 3]]


def test_series_at_the_times_of_its_frames() -> None:
    """What rises evenly is found exactly between samples; beyond a slice's own, the nearest is repeated."""
    times_s = torch.from_numpy(shuttle(n_frames=12))
    series = 3 * times_s.T[:, None, None].expand(12, 2, 3, 4) + 5
    found = at_frame_times(series, times_s)
    means = times_s.mean(dim=0)
    inside = (means[:, None] >= times_s[:, 0]) & (means[:, None] <= times_s[:, -1])
    expected = (3 * means + 5)[:, None].expand(12, 4)
    assert torch.allclose(found[:, 1, 2][inside], expected[inside].float(), atol=1e-4)
    assert torch.allclose(found[0, 0, 0, 2:], series[0, 0, 0, 2:].float())


WRONG = {
    "shape": (np.zeros((3, 21)), r"a time for 4 slices in 21 frames, got \(3, 21\)"),
    "nan": (np.where(np.eye(4, 21) > 0, np.nan, jog()), "rise by 1 ms at least, got for slice 0"),
    "order": (jog()[:, ::-1].copy(), "rise by 1 ms at least, got for slice 0"),
    "others": (2 * jog(), r"times_s as their means, got up to 60 s between them"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_times_that_do_not_fit(wrong: str) -> None:
    times_s, message = WRONG[wrong]
    with pytest.raises(ValueError, match=f"slice_times_s must (have )?{message}"):
        frame_and_slice_times(frames(jog()), torch.from_numpy(times_s), 4, 21)
