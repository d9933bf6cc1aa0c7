"""The reading: what it says without a reference or a lesion, its cautions, and how far its intervals hold."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from scripts.perfusion import MapErrors, Reading, ReadingThresholds, read_maps
from scripts.perfusion.intervals import _random_fields, volume_intervals

SHAPE, SPACING_MM = (40, 50, 4), (4.0, 4.0, 5.0)
VOXEL_ML = 0.08
AFFINE = torch.diag(torch.tensor([*SPACING_MM, 1.0]))  # the first axis runs to the patient's right
RIGHT = slice(20, 40)
FLAGS = ("defuse3", "dawn_a", "dawn_b", "dawn_c")


class Brain:
    """A block of tissue, 640 ml, with even flow; parts of it are changed by the tests."""

    def __init__(self, cbf: float = 50.0, cbv: float = 4.0, tmax: float = 1.0) -> None:
        self.cbf, self.cbv, self.tmax = (torch.full(SHAPE, value) for value in (cbf, cbv, tmax))
        self.tissue = torch.ones(SHAPE, dtype=torch.bool)

    def read(self, errors: MapErrors | None = None, thresholds: ReadingThresholds | None = None) -> Reading:
        return read_maps(self.cbf, self.cbv, self.tmax, self.tissue, AFFINE, SPACING_MM, thresholds, errors)[0]

    def lesion(self, rows: int, columns: int, tmax: float, flow: float = 1.0, volume: float = 1.0) -> "Brain":
        """Change a block at the right edge: rows x columns x 4 voxels."""
        block = (slice(40 - rows, 40), slice(0, columns))
        self.tmax[block] = tmax
        self.cbf[block] *= flow
        self.cbv[block] *= volume
        return self


def met(reading: Reading) -> list[bool | None]:
    return [reading.flags[name]["met"] for name in FLAGS]


def cautions(reading: Reading) -> list[str]:
    return [caution.name for caution in reading.cautions]


def test_no_normal_tissue_is_not_read_as_no_core() -> None:
    """A comparison with the NaN of a missing reference is false everywhere: the core was 0, DEFUSE 3 and DAWN met."""
    reading = Brain(cbf=3.0, tmax=9.0).read()
    assert math.isnan(reading.core_ml)
    assert math.isnan(reading.mismatch_ml)
    assert math.isnan(reading.mismatch_ratio)
    assert math.isnan(reading.cbv_index)
    assert math.isnan(reading.hypoperfusion_intensity_ratio)
    assert met(reading) == [None] * 4
    assert set(cautions(reading)) == {"no_reference", "implausible_delay"}
    assert reading.tmax_ml["6"] == pytest.approx(640)
    plain = reading.as_json()
    assert plain["core_ml"] is None
    assert plain["flags"]["defuse3"]["met"] is None
    assert "too little normal tissue" in plain["flags"]["dawn_a"]["reason"]
    assert plain["cautions"][0]["value"] == 0.0
    assert plain["cautions"][0]["limit"] == 10.0


@pytest.mark.parametrize(("columns", "known"), [(7, True), (6, False)])
def test_a_reference_needs_ten_ml_of_normal_tissue(columns: int, known: bool) -> None:
    brain = Brain().lesion(20, 50, 9.0, 0.2)
    brain.tmax[:20] = 5.0  # neither normal nor delayed
    brain.tmax[:5, :columns] = 1.0
    reading = brain.read()
    assert reading.reference_ml == pytest.approx(5 * columns * 4 * VOXEL_ML)
    assert math.isnan(reading.core_ml) != known
    assert ("no_reference" in cautions(reading)) != known
    assert (met(reading) == [None] * 4) != known


def test_no_flag_of_a_trial_is_met_without_a_lesion() -> None:
    reading = Brain().read()
    assert reading.side == "none"
    assert reading.core_ml == 0
    assert met(reading) == [False] * 4
    assert reading.flags["dawn_a"]["reason"] == "no lesion: hypoperfusion 0.0 ml, below 15 ml"


@pytest.mark.parametrize(("rows", "expected"), [(4, [False] * 4), (5, [True, True, True, False])])
def test_a_flag_needs_fifteen_ml_of_hypoperfusion(rows: int, expected: list[bool]) -> None:
    reading = Brain().lesion(rows, 10, 8.0, 0.6).read()
    assert reading.tmax_ml["6"] == pytest.approx(rows * 40 * VOXEL_ML)  # 12.8 and 16 ml
    assert met(reading) == expected
    assert reading.flags["dawn_a"]["reason"] is None or rows == 4


@pytest.mark.parametrize(
    ("core_rows", "expected"),
    [
        (0, [True, True, True, False]),
        (3, [True, False, True, False]),  # 24 ml
        (5, [True, False, False, True]),  # 40 ml
        (7, [True, False, False, False]),  # 56 ml
        (9, [False, False, False, False]),  # 72 ml
    ],
)
def test_flags_follow_the_criteria_of_the_trials(core_rows: int, expected: list[bool]) -> None:
    brain = Brain().lesion(18, 25, 8.0, 0.6)
    brain.cbf[40 - core_rows :, :25] = 5.0
    reading = brain.read()
    assert reading.core_ml == pytest.approx(8 * core_rows)
    assert met(reading) == expected


@pytest.mark.parametrize(("columns", "given_"), [(3, False), (11, True)])
def test_quotients_need_ten_ml_of_hypoperfusion(columns: int, given_: bool) -> None:
    reading = Brain().lesion(3, columns, 12.0, 0.6, 0.5).read()
    quotients = (reading.mismatch_ratio, reading.hypoperfusion_intensity_ratio, reading.cbv_index)
    expected = (math.inf, 1.0, 0.5) if given_ else (math.nan,) * 3
    assert quotients == pytest.approx(expected, nan_ok=True)


def test_delay_with_flow_in_the_carotids_territory_is_a_caution_beside_the_flags() -> None:
    reading = Brain().lesion(20, 38, 9.0, 0.95).read()
    assert reading.flags["defuse3"]["met"]
    assert cautions(reading) == ["carotid_pattern"]
    assert "carotid pattern" in str(reading.cautions[0]).replace("_", " ")
    assert reading.cautions[0].value == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("rows", "columns", "flow", "volume"),
    [(20, 38, 0.5, 1.0), (20, 38, 0.95, 0.6), (20, 25, 0.95, 1.0)],
    ids=["starved", "without blood", "half of the side"],
)
def test_an_occlusion_is_no_carotid_pattern(rows: int, columns: int, flow: float, volume: float) -> None:
    assert cautions(Brain().lesion(rows, columns, 9.0, flow, volume).read()) == []


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(4, []), (10, ["bilateral_delay"]), (24, ["bilateral_delay"]), (26, ["implausible_delay"])],
)
def test_delay_of_both_sides_is_a_caution_and_withholds_flags_where_it_is_most(
    columns: int, expected: list[str]
) -> None:
    brain = Brain().lesion(20, 30, 9.0, 0.5)
    brain.tmax[:20, :columns] = 8.0
    reading = brain.read()
    assert cautions(reading) == expected
    assert (reading.flags["defuse3"]["met"] is None) == (expected == ["implausible_delay"])


@pytest.mark.parametrize(("rows", "expected"), [(2, []), (4, ["unclear_side"])])
def test_a_delay_of_both_sides_alike_leaves_the_side_uncertain(rows: int, expected: list[str]) -> None:
    brain = Brain().lesion(5, 10, 9.0, 0.5)
    brain.tmax[:rows, :10] = 8.0
    assert cautions(brain.read()) == expected


@pytest.mark.parametrize(("cbf", "doubtful"), [(8.0, True), (30.0, False), (70.0, False), (141.0, True)])
def test_a_reference_flow_that_no_brain_has_is_a_caution(cbf: float, doubtful: bool) -> None:
    reading = Brain(cbf=cbf).lesion(10, 10, 9.0, 0.2).read()
    assert cautions(reading) == ["implausible_reference"] * doubtful
    assert reading.core_ml == pytest.approx(32)


@pytest.mark.parametrize(
    ("flow", "sd", "expected"), [(0.28, 0.1, []), (0.28, 6.0, ["uncertain_core"]), (0.05, 3.0, [])]
)
def test_a_core_that_noise_alone_could_make_is_a_caution(flow: float, sd: float, expected: list[str]) -> None:
    """The core's flow is 14 or 2.5, its limit 15."""
    brain = Brain().lesion(10, 10, 12.0, flow)
    errors = MapErrors(torch.full(SHAPE, sd), torch.full(SHAPE, 0.1), 20.0)
    reading = brain.read(errors)
    assert reading.core_ml == pytest.approx(32)
    assert cautions(reading) == expected
    assert (reading.core_ml_interval == pytest.approx((0, 64), abs=20)) == bool(expected)


def test_maps_that_do_not_fit_are_refused() -> None:
    brain = Brain()
    brain.tmax[3, 3, 1] = math.nan
    with pytest.raises(ValueError, match="tmax: expected finite values in the tissue, got 1 NaN or infinite"):
        brain.read()
    brain.tissue[3, 3, 1] = False
    assert brain.read().side == "none"
    short = MapErrors(torch.ones(2, 2, 2), torch.ones(SHAPE), 3.5)
    with pytest.raises(ValueError, match=r"cbf_sd: expected the tissue mask's shape \(40, 50, 4\), got \(2, 2, 2\)"):
        brain.read(short)


@settings(max_examples=20, deadline=None)
@given(
    flow=st.floats(0.05, 1.2),
    tmax=st.floats(0, 14),
    rows=st.integers(1, 20),
    columns=st.integers(1, 50),
    sd=st.sampled_from((0.0, 0.5, 2.0)),
)
def test_whatever_the_lesion_volumes_add_up_and_intervals_hold_them(
    flow: float, tmax: float, rows: int, columns: int, sd: float
) -> None:
    brain = Brain().lesion(rows, columns, tmax, flow)
    errors = MapErrors(torch.full(SHAPE, 5 * sd), torch.full(SHAPE, sd), 3.5)
    reading = brain.read(errors)
    assert reading.core_ml + reading.mismatch_ml == pytest.approx(reading.tmax_ml["6"])
    pairs = [
        (reading.core_ml, reading.core_ml_interval),
        (reading.tmax_ml["6"], reading.tmax_ml_interval["6"]),
        (reading.mismatch_ml, reading.mismatch_ml_interval),
    ]
    if not math.isnan(reading.mismatch_ratio):
        pairs.append((reading.mismatch_ratio, reading.mismatch_ratio_interval))
    for value, interval in pairs:
        assert interval is not None
        assert interval[0] <= value * (1 + 1e-9) + 1e-9
        assert interval[1] >= value * (1 - 1e-9) - 1e-9
        if sd == 0:
            assert interval == pytest.approx((value, value))
    if any(flag["met"] for flag in reading.flags.values()):
        assert reading.tmax_ml["6"] >= 15
        assert reading.side == "right"


# -- intervals against a truth that is known

GRID, GRID_MM = (60, 72, 4), (2.0, 2.0, 8.0)
GRID_ML = 0.032


def true_maps() -> tuple[np.ndarray, np.ndarray]:
    """Tmax and CBF with gradual borders around an ellipse off the grid's center: delay 90 ml, core 25 ml."""
    h, w = np.meshgrid(np.arange(GRID[0]) - 20.3, np.arange(GRID[1]) - 36.7, indexing="ij")
    radius = np.repeat(np.hypot(2 * h, 1.7 * w)[..., None], GRID[2], axis=2)
    lesion, core = (1 / (1 + np.exp((radius - edge) / 3)) for edge in (28.37, 16.2))
    return 2 + 8 * lesion, 50 - 20 * lesion - 24 * core


def smooth_noise(rng: np.random.Generator, sigma_mm: float) -> np.ndarray:
    """White noise smoothed within slices, with a standard deviation of 1."""
    sigma, edge = sigma_mm / GRID_MM[0], 16
    white = rng.standard_normal((GRID[0] + 2 * edge, GRID[1] + 2 * edge, GRID[2]))
    smooth = ndimage.gaussian_filter(white, (sigma, sigma, 0), truncate=6)[edge:-edge, edge:-edge]
    return smooth * 2 * math.sqrt(math.pi) * sigma


def volumes(tmax: np.ndarray, cbf: np.ndarray) -> tuple[float, float, float, float]:
    delayed = tmax > 6
    core = (delayed & (cbf < 0.3 * np.median(cbf[35:]))).sum() * GRID_ML
    delay = delayed.sum() * GRID_ML
    return core, delay, delay - core, delay / core


def intervals_of(tmax: np.ndarray, cbf: np.ndarray, sd: tuple[float, float], correlation_mm: float):
    tissue = torch.ones(GRID, dtype=torch.bool)
    normal = tissue.clone()
    normal[:35] = False
    flow, time_s = torch.from_numpy(cbf).float(), torch.from_numpy(tmax).float()
    errors = MapErrors(torch.full(GRID, sd[1]), torch.full(GRID, sd[0]), correlation_mm)
    return volume_intervals(flow, time_s, errors, tissue, normal, GRID_MM, 0.3, 6.0)


def coverage(sd: tuple[float, float], sigma_mm: float, assumed_mm: float, seeds: int = 40) -> np.ndarray:
    """Share of noisy maps whose intervals hold the true core, delay, mismatch and ratio."""
    tmax, cbf = true_maps()
    truth = volumes(tmax, cbf)
    hits = np.zeros(4)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        noisy = (tmax + sd[0] * smooth_noise(rng, sigma_mm), cbf + sd[1] * smooth_noise(rng, sigma_mm))
        found = intervals_of(*noisy, sd, assumed_mm)
        hits += [low <= value <= high for (low, high), value in zip(found[:4], truth, strict=True)]
    return hits / seeds


@pytest.mark.parametrize(("sd", "sigma_mm"), [((0.5, 3.0), 3.5), ((1.0, 5.0), 3.5), ((1.0, 5.0), 5.0)])
def test_intervals_hold_the_truth_of_noisy_maps(sd: tuple[float, float], sigma_mm: float) -> None:
    """Nine of ten are promised; 40 maps leave a standard deviation of 5 %, and a threshold in noise some bias."""
    held = coverage(sd, sigma_mm, sigma_mm)
    assert (held >= 0.8).all(), held
    assert held.mean() < 0.995, held


def test_taking_neighbors_errors_as_independent_would_be_too_narrow() -> None:
    tmax, cbf = true_maps()
    rng = np.random.default_rng(0)
    cores = [volumes(tmax + smooth_noise(rng, 5.0), cbf + 5 * smooth_noise(rng, 5.0))[0] for _ in range(40)]
    scatter_ml = float(np.quantile(np.abs(cores - np.mean(cores)), 0.9))
    halves_ml = [np.ptp(intervals_of(tmax, cbf, (1.0, 5.0), length).core_ml) / 2 for length in (5.0, 1.0)]
    assert 0.8 * scatter_ml < halves_ml[0] < 1.6 * scatter_ml
    assert halves_ml[1] < 0.6 * scatter_ml


def test_intervals_hold_a_truth_that_scatters_about_the_maps() -> None:
    """The other way round: maps that are the mean of a posterior."""
    tmax, cbf = true_maps()
    found = intervals_of(tmax, cbf, (1.0, 5.0), 3.5)
    rng = np.random.default_rng(0)
    truths = [volumes(tmax + smooth_noise(rng, 3.5), cbf + 5 * smooth_noise(rng, 3.5)) for _ in range(60)]
    for (low, high), values in zip(found[:3], np.array(truths).T[:3], strict=True):
        assert 0.8 <= np.mean((values >= low) & (values <= high)) <= 1.0
    assert found == intervals_of(tmax, cbf, (1.0, 5.0), 3.5)  # the same each time


def intervals_without_noise(tmax: np.ndarray, cbf: np.ndarray, **errors: float):
    tissue = torch.ones(GRID, dtype=torch.bool)
    normal = tissue.clone()
    normal[:35] = False
    flow, time_s = torch.from_numpy(cbf).float(), torch.from_numpy(tmax).float()
    nothing = torch.zeros(GRID)
    return volume_intervals(flow, time_s, MapErrors(nothing, nothing, 3.5, **errors), tissue, normal, GRID_MM, 0.3, 6.0)


def test_errors_that_all_voxels_have_in_common_do_not_average_out() -> None:
    """The interval reaches to the volumes of maps that are off by the limits of these errors."""
    tmax, cbf = true_maps()
    found = intervals_without_noise(tmax, cbf, delay_error_s=0.5, flow_error=0.15)
    half_ml = [np.ptp(interval) / 2 for interval in found[:2]]
    true = volumes(tmax, cbf)
    normal = cbf > 40
    off = [volumes(tmax + sign * 0.5, np.where(normal, cbf, cbf * (1 + sign * 0.15))) for sign in (-1, 1)]
    for index, half in enumerate(half_ml):
        expected = np.mean([abs(volume[index] - true[index]) for volume in off])
        assert half == pytest.approx(expected, rel=0.4)
        assert half > 1


def test_what_a_filter_takes_from_a_lesion_is_in_the_interval() -> None:
    """Behind a Gaussian, a Gaussian stays one: the area above a limit is known for every smoothing."""
    h, w = np.meshgrid(np.arange(GRID[0]) - 29.3, np.arange(GRID[1]) - 35.9, indexing="ij")
    square_mm2 = np.repeat((4 * (h**2 + w**2))[..., None], GRID[2], axis=2)

    def variance_and_height(smoothings: int) -> tuple[float, float]:
        variance_mm2 = 15.0**2 + smoothings * 6.0**2
        return variance_mm2, 8 * 15.0**2 / variance_mm2

    def delayed_ml(smoothings: int) -> float:
        variance_mm2, height_s = variance_and_height(smoothings)
        return 2 * math.pi * variance_mm2 * math.log(height_s / 4) * GRID_MM[2] * GRID[2] / 1000

    variance_mm2, height_s = variance_and_height(1)
    tmax, cbf = 2 + height_s * np.exp(-square_mm2 / 2 / variance_mm2), np.full(GRID, 50.0)
    low, high = intervals_without_noise(tmax, cbf, filter_mm=6.0).delayed_ml
    assert (low + high) / 2 == pytest.approx(delayed_ml(1), rel=0.05)
    assert (high - low) / 2 == pytest.approx(delayed_ml(1) - delayed_ml(2), rel=0.25)
    assert high > delayed_ml(0)
    exact = intervals_without_noise(tmax, cbf).delayed_ml
    assert exact == pytest.approx((delayed_ml(1), delayed_ml(1)), rel=0.05)


def test_random_fields_are_normal_and_correlated_as_smoothed_noise_is() -> None:
    """The autocorrelation of noise behind a Gaussian is a Gaussian, wider by the square root of 2."""
    fields = (
        torch.cat(list(_random_fields((3, 40, 50), (2.0, 1.5), 4.0, torch.Generator().manual_seed(0))), dim=1)
        .reshape(-1, 40, 50)
        .numpy()
    )
    assert stats.kstest(fields[:, ::20, ::24].ravel(), "norm").pvalue > 0.01
    assert fields.std() == pytest.approx(1, abs=0.02)
    for lag_mm in (3.0, 6.0, 12.0):
        h, w = round(lag_mm / 2), round(lag_mm / 1.5)
        expected_h, expected_w = (np.exp(-((lag * size) ** 2) / (4 * 16)) for lag, size in ((h, 2.0), (w, 1.5)))
        assert np.mean(fields[:, h:] * fields[:, : fields.shape[1] - h]) == pytest.approx(expected_h, abs=0.04)
        assert np.mean(fields[..., w:] * fields[..., : fields.shape[2] - w]) == pytest.approx(expected_w, abs=0.04)


def test_finer_pixels_give_the_same_intervals() -> None:
    """Pixels below a third of the correlation's length are skipped, which must not change what comes out."""
    tmax, cbf = true_maps()
    fine = [np.repeat(np.repeat(volume, 4, axis=0), 4, axis=1) for volume in (cbf, tmax)]
    flow, time_s = (torch.from_numpy(volume).float() for volume in fine)
    tissue = torch.ones(flow.shape, dtype=torch.bool)
    normal = tissue.clone()
    normal[:140] = False
    errors = MapErrors(torch.full_like(flow, 5.0), torch.full_like(flow, 1.0), 3.5)
    start = time.process_time()
    found = volume_intervals(flow, time_s, errors, tissue, normal, (0.5, 0.5, 8.0), 0.3, 6.0)
    assert time.process_time() - start < 5
    coarse = intervals_of(tmax, cbf, (1.0, 5.0), 3.5)
    for one, other in zip(found[:3], coarse[:3], strict=True):
        assert one == pytest.approx(other, rel=0.06, abs=0.6)
