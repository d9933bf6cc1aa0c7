"""From a small synthetic head to maps: brain, arterial input, maps, quality, reading and the transform."""

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from scripts.io.errors import CaseError
from scripts.perfusion import (
    PerfusionMapsd,
    PerfusionVolumes,
    brain_mask,
    check_quality,
    perfusion_maps,
    read_maps,
)
from scripts.perfusion.arterial_input import given_arterial_input, vessel_mask
from scripts.perfusion.core_and_mismatch import right_side
from scripts.perfusion.examination import even_times
from scripts.perfusion.frames import range_over_time
from scripts.perfusion.maps import _interpolated
from scripts.perfusion.masked_grid import MaskedGrid, smooth_within
from scripts.perfusion.quality import refuse_unusable

from .curves import arterial_curve
from .head import N_FRAMES, SHAPE, SPACING_MM, head


@pytest.fixture(scope="module")
def maps() -> PerfusionVolumes:
    return perfusion_maps(head(stripped=False)[0], 1.0, SPACING_MM, smoothing_mm=3.0)


@pytest.mark.parametrize("stripped", [True, False])
def test_brain_is_found_with_and_without_skull(stripped: bool) -> None:
    series, brain, _ = head(stripped)
    found = brain_mask(series, SPACING_MM)
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.96


@pytest.mark.parametrize("padding", [-3024.0, math.nan])
def test_what_lies_beyond_the_field_of_view_does_not_make_a_background_tissue(padding: float) -> None:
    series, brain, _ = head(stripped=True)
    h, w = np.meshgrid(np.arange(SHAPE[0]) - 39.5, np.arange(SHAPE[1]) - 47.5, indexing="ij")
    series[:, torch.from_numpy(np.hypot(h, w) > 47)] = padding
    assert torch.equal(brain_mask(series, SPACING_MM), brain_mask(head(stripped=True)[0], SPACING_MM))
    assert (brain_mask(series, SPACING_MM) == brain).float().mean() > 0.98


def test_brain_of_an_empty_image_is_empty() -> None:
    assert not brain_mask(torch.zeros(5, 16, 16, 2), SPACING_MM).any()


def test_smoothing_within_the_mask_equals_normalized_convolution_and_keeps_constants() -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((24, 20, 3)) > 0.4
    volume = rng.standard_normal((24, 20, 3)).astype(np.float32)
    sigma_px = 1.5
    blur = [
        ndimage.gaussian_filter(a, (sigma_px, sigma_px, 0), mode="constant", truncate=2.7)
        for a in (volume * mask, mask * 1.0)
    ]
    found = smooth_within(torch.from_numpy(volume), torch.from_numpy(mask), 3.0, SPACING_MM).numpy()
    assert found[mask] == pytest.approx((blur[0] / blur[1])[mask], abs=2e-3)
    assert (found[~mask] == 0).all()
    constant = smooth_within(torch.full((24, 20, 3), 7.0), torch.from_numpy(mask), 3.0, SPACING_MM).numpy()
    assert constant[mask] == pytest.approx(7.0, rel=1e-5)


def test_masked_grid_puts_values_back_where_they_were() -> None:
    mask = torch.rand(7, 9, 4, generator=torch.Generator().manual_seed(0)) > 0.5
    frames = torch.rand(3, 7, 9, 4)
    grid = MaskedGrid(mask)
    assert torch.equal(grid.volume(grid.curves(frames)), torch.where(mask, frames, 0.0))


def test_singular_values_get_curves_at_even_times() -> None:
    times_s = torch.tensor([0.0, 1.0, 2.0, 4.0, 5.0])
    wanted_s = even_times(times_s)
    assert wanted_s.tolist() == [0, 1, 2, 3, 4, 5]
    curves = (3 * times_s)[:, None].expand(5, 2)
    assert _interpolated(curves, times_s, wanted_s)[:, 1].tolist() == pytest.approx([0, 3, 6, 9, 12, 15])
    even_s = 2.0 * torch.arange(5)
    assert torch.equal(even_times(even_s), even_s)
    assert torch.allclose(_interpolated(curves, even_s, even_s), curves)


def test_arterial_voxels_and_their_curve_are_found(maps: PerfusionVolumes) -> None:
    _, _, artery = head(stripped=False)
    assert artery[maps.arterial.aif_mask].float().mean() > 0.9
    truth = arterial_curve(np.arange(N_FRAMES, dtype=float))
    assert float(maps.arterial.aif_hu.max()) == pytest.approx(truth.max(), rel=0.1)
    assert abs(int(maps.arterial.aif_hu.argmax()) - int(truth.argmax())) <= 1


def test_maps_show_flow_volume_and_delay(maps: PerfusionVolumes) -> None:
    normal, delayed = (slice(50, 60), slice(40, 55)), (slice(14, 22), slice(40, 55))
    assert float(maps.cbf[normal].mean()) == pytest.approx(50, rel=0.3)
    assert float(maps.cbf[delayed].mean()) == pytest.approx(12, rel=0.25)
    assert float(maps.cbv[normal].mean()) == pytest.approx(50 * 4 / 60, rel=0.15)
    assert 6.5 < float(maps.tmax[delayed].mean() - maps.tmax[normal].mean()) < 9
    assert float(maps.ttp[delayed].mean()) > float(maps.ttp[normal].mean())
    assert (maps.cbf[~maps.brain] == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_maps(maps: PerfusionVolumes) -> None:
    found = perfusion_maps(head(stripped=False)[0].cuda(), 1.0, SPACING_MM, smoothing_mm=3.0)
    assert (found.brain.cpu() == maps.brain).float().mean() > 0.999
    for name, tolerance in {"cbf": 1.0, "cbv": 0.1, "mtt": 0.5, "tmax": 0.1}.items():
        difference = (getattr(found, name).cpu() - getattr(maps, name)).abs()
        assert float(difference.flatten().quantile(0.99)) < tolerance


def test_arterial_input_from_the_user_gives_the_same_maps(maps: PerfusionVolumes) -> None:
    series, _, artery = head(stripped=False)
    for source in (artery, torch.from_numpy(arterial_curve(np.arange(N_FRAMES, dtype=float))), (45, 71, 0)):
        given = perfusion_maps(series, 1.0, SPACING_MM, smoothing_mm=3.0, aif=source, brain=maps.brain)
        assert float(given.cbf[maps.tissue].mean()) == pytest.approx(float(maps.cbf[maps.tissue].mean()), rel=0.1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"aif": torch.ones(7)}, "aif must be a curve of 45 values"),
        ({"aif": (999, 0, 0)}, "aif must be three indices"),
        ({"aif": torch.zeros(N_FRAMES)}, "aif must have finite values and a positive area"),
        ({"aif": torch.zeros(SHAPE)}, r"a mask \(80, 96, 2\) with at least one voxel"),
        (
            {"aif": torch.ones(40, 48, 2), "spacing_mm": (0.45, 0.45, 8.0)},
            r"a mask \(80, 96, 2\) .* got .*\(40, 48, 2\)",
        ),
        ({"aif": (80, 0, 0), "spacing_mm": (0.45, 0.45, 8.0)}, r"aif must be three indices .* got \(80, 0, 0\)"),
        ({"brain": torch.ones(3, 3, 3)}, "brain must have shape"),
        ({"brain": torch.ones(79, 96, 2), "spacing_mm": (0.45, 0.45, 8.0)}, "brain must have shape .* got .79, 96, 2"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing_mm must be three positive numbers"),
        ({"times_s": -1.0}, "positive time between frames"),
        ({"times_s": [0.0, 1.0, 1.0, *range(3, N_FRAMES)]}, "times_s must be 45 rising times"),
        ({"method": "svd"}, "method must be one of"),
        ({"series": -50 + 40 * torch.rand(1, 16, 16, 2).expand(12, -1, -1, -1)}, "series must show a brain"),
        ({"series": torch.zeros(12, 16, 16, 2)}, "at least 10 frames in which the head lies .*, got 0 of 12"),
        ({"series": head(stripped=True)[0][:2]}, "at least 10 frames in which the head lies .*, got 2 of 2"),
        ({"series": head(stripped=True)[0][:1]}, "at least 10 frames in which the head lies .*, got 1 of 1"),
        ({"series": torch.zeros(9, 16, 16)}, r"series must have shape \(T, H, W, D\)"),
    ],
)
def test_bad_arguments_are_named(change: dict, match: str) -> None:
    arguments = {"series": head(stripped=True)[0], "times_s": 1.0, "spacing_mm": SPACING_MM} | change
    with pytest.raises(ValueError, match=match):
        perfusion_maps(**arguments)


def test_quality_names_what_is_wrong_with_the_number(maps: PerfusionVolumes) -> None:
    series, _, _ = head(stripped=False)
    names = {warning.name for warning in check_quality(series, maps, SPACING_MM)}
    assert names == set()
    cut = series[:12]
    found = {w.name: w for w in check_quality(cut, perfusion_maps(cut, 1.0, SPACING_MM), SPACING_MM)}
    assert found["truncated_series"].value > found["truncated_series"].limit
    late = torch.cat([series[:1].expand(25, -1, -1, -1), series])
    found = {w.name: w for w in check_quality(late, perfusion_maps(late, 1.0, SPACING_MM), SPACING_MM)}
    assert found["late_contrast"].value == pytest.approx(32, abs=2)
    assert "late_contrast: 3" in str(found["late_contrast"])


def test_a_series_of_noise_is_refused(maps: PerfusionVolumes) -> None:
    series, _, _ = head(stripped=False)
    warnings = check_quality(series, maps._replace(noise_ratio=2.5), SPACING_MM)
    with pytest.raises(ValueError, match="noise: 2.5 of the tissue's peak"):
        refuse_unusable(warnings)
    refuse_unusable(check_quality(series, maps._replace(noise_ratio=1.5), SPACING_MM))


def test_a_little_of_a_vessel_in_a_voxel_stands_out_from_its_surroundings() -> None:
    series, brain, artery = head(stripped=True)
    blood = torch.from_numpy(arterial_curve(np.arange(len(series), dtype=float))).float()
    small = (slice(50, 52), slice(30, 32))
    series[:, *small] += 0.05 * blood[:, None, None, None]
    arterial = given_arterial_input(series, blood, 5)
    vessels = vessel_mask(series, MaskedGrid(brain), arterial, 5, 1.0, SPACING_MM)
    assert vessels[small].all()
    vessels[48:54, 28:34] = vessels[artery] = False
    assert float(vessels[brain].float().mean()) < 0.02


def test_noise_does_not_make_vessels_of_tissue() -> None:
    generator = torch.Generator().manual_seed(0)
    curve = 130 * torch.exp(-0.5 * ((torch.arange(30) - 12) / 3.0) ** 2)
    series = 35 + 0.035 * curve[:, None, None, None] + 6 * torch.randn(30, 200, 200, 1, generator=generator)
    series[:, 90:100, 90:100] += curve[:, None, None, None] / 2
    inside = torch.ones(200, 200, 1, dtype=torch.bool)
    arterial = given_arterial_input(series, curve, 4)
    vessels = vessel_mask(series, MaskedGrid(inside), arterial, 4, 2.0, (0.45, 0.45, 8.0))
    assert vessels[92:98, 92:98].all()
    vessels[80:110, 80:110] = False
    assert float(vessels.float().mean()) < 0.01


def test_reading_finds_side_core_and_ratios() -> None:
    shape, spacing_mm = (40, 50, 4), (2.0, 2.0, 5.0)
    tissue = torch.zeros(shape, dtype=torch.bool)
    tissue[5:35, 5:45] = True
    cbf, cbv, tmax = torch.full(shape, 50.0), torch.full(shape, 4.0), torch.full(shape, 2.0)
    tmax[25:35, 10:30], tmax[30:35, 10:30] = 8.0, 12.0
    cbf[30:35, 10:20], cbv[25:35, 10:30] = 10.0, 2.0
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0]))
    reading, core, delayed = read_maps(cbf, cbv, tmax, tissue, affine, spacing_mm)
    voxel_ml = 0.02
    assert reading.side == "right"  # the first axis runs to the right
    assert reading.core_ml == pytest.approx(5 * 10 * 4 * voxel_ml)
    assert reading.tmax_ml["6"] == pytest.approx(10 * 20 * 4 * voxel_ml)
    assert reading.mismatch_ml == pytest.approx(16 - 4)
    assert reading.mismatch_ratio == pytest.approx(4.0)
    assert reading.hypoperfusion_intensity_ratio == pytest.approx(0.5)
    assert reading.cbv_index == pytest.approx(0.5)
    assert not reading.flags["defuse3"]["met"]  # the mismatch is below 15 ml
    assert reading.flags["dawn_a"]["met"]
    assert core.sum() == 200
    assert delayed.sum() == 800
    affine[0, 0] = -2
    assert read_maps(cbf, cbv, tmax, tissue, affine, spacing_mm)[0].side == "left"


def test_reading_of_a_normal_brain_has_no_side_and_no_core() -> None:
    tissue = torch.ones(10, 10, 2, dtype=torch.bool)
    ones = torch.ones(10, 10, 2)
    reading, core, _ = read_maps(50 * ones, 4 * ones, ones, tissue, torch.eye(4), (1.0, 1.0, 1.0))
    assert reading.side == "none"
    assert not core.any()
    assert math.isnan(reading.mismatch_ratio)
    assert reading.as_json()["mismatch_ratio"] is None


@pytest.mark.parametrize("angle_deg", [-20, 0, 12])
def test_midline_follows_a_turned_head(angle_deg: float) -> None:
    angle = math.radians(angle_deg)
    h, w = np.meshgrid(np.arange(80) - 39.5, np.arange(80) - 39.5, indexing="ij")
    across, along = h * np.cos(angle) + w * np.sin(angle), -h * np.sin(angle) + w * np.cos(angle)
    brain = torch.from_numpy(np.hypot(across / 24, along / (34 + 0.12 * along)) < 1)[..., None]
    right = right_side(brain, torch.eye(4))[..., 0].numpy()
    inside = brain[..., 0].numpy() & (np.abs(across) > 3)
    assert (right == (across > 0))[inside].mean() > 0.98


def test_transform_adds_what_is_missing_and_keeps_what_is_given() -> None:
    affine = torch.diag(torch.tensor([-2.0, -2.0, 8.0, 1.0], dtype=torch.float64))
    image = MetaTensor(head(stripped=True)[0], affine=affine)
    blood = range_over_time(image.as_tensor())[1] - image.as_tensor()[0]
    given = MetaTensor(0.5 * blood[None].clamp(0, 20), affine=affine)
    case = {"image": image, "cbv": given, "dt_s": 1.0, "case": "one", "warnings": "before"}
    output = PerfusionMapsd()(case)
    assert output["cbv"] is given
    assert "cbf" not in case
    for key in ("cbf", "mtt", "tmax"):
        assert output[key].shape == (1, *SHAPE)
        assert torch.equal(output[key].affine, affine)
    assert output["warnings"].split("; ")[0] == "before"
    assert "cbv" not in output["warnings"]


def test_transform_takes_the_interval_from_the_user_before_the_case_before_the_header() -> None:
    series = head(stripped=True)[0]
    image = MetaTensor(series, affine=torch.eye(4))
    by_header = MetaTensor(series, affine=torch.eye(4), meta={"pixdim": [1, 2, 2, 8, 2.0, 0, 0, 0]})

    def tmax(case: dict, **options: float) -> torch.Tensor:
        return PerfusionMapsd(map_keys="tmax", **options)(case)["tmax"]

    at_1_s, at_2_s = (tmax({"image": image, "dt_s": dt_s}) for dt_s in (1.0, 2.0))
    assert not torch.equal(at_1_s, at_2_s)
    assert torch.equal(tmax({"image": by_header}), at_2_s)
    assert torch.equal(tmax({"image": by_header, "dt_s": 1.0}), at_1_s)
    assert torch.equal(tmax({"image": by_header, "dt_s": 2.0}, dt_s=1.0), at_1_s)


def test_transform_names_the_case_and_what_to_do() -> None:
    image = MetaTensor(head(stripped=True)[0], affine=torch.eye(4))
    with pytest.raises(CaseError, match="case 'one', image: expected a time between frames, .* give dt_s"):
        PerfusionMapsd()({"image": image, "case": "one", "dt_s": 0.0})
    with pytest.raises(CaseError, match="case 'two', image: .*dead_frames: 9 frames"):
        PerfusionMapsd(dt_s=1.0)({"image": MetaTensor(torch.zeros(9, 16, 16, 2)), "case": "two"})
    with pytest.raises(ValueError, match="map_keys must be among"):
        PerfusionMapsd(map_keys=("flow",))
    for dt_s in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="dt_s must be a positive time"):
            PerfusionMapsd(dt_s=dt_s)


def test_transform_checks_a_complete_case_and_leaves_its_images_alone(maps: PerfusionVolumes) -> None:
    given = {key: getattr(maps, key)[None] for key in ("cbf", "cbv", "mtt", "tmax")}
    image = MetaTensor(head(stripped=False)[0], affine=torch.diag(torch.tensor([2.0, 2.0, 8.0, 1.0])))
    output = PerfusionMapsd()({"image": image, **given})
    assert all(output[key] is given[key] for key in given)
    assert output["image"] is image
    assert output["warnings"] == ""
