import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts.transforms import PerfusionCrop, PerfusionCropd, find_perfusion_interval


def literal_rule(q, k):
    """Eq. 2-3 of Wang et al. 2020 as they stand, one frame after the other."""
    frames = len(q)

    def derivative(t):
        return q[t + 1] - q[t] if t + 1 < frames else None

    starts = [
        t for t in range(frames - k) if all(derivative(t + i) is not None and derivative(t + i) > 0 for i in range(k))
    ]
    ends = [
        t for t in range(k, frames) if all(derivative(t - i) is not None and derivative(t - i) < 0 for i in range(k))
    ]
    if not starts or not ends or max(ends) <= min(starts):
        return None
    return min(starts), max(ends)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(1, 6))
def test_agrees_with_the_literal_rule(steps, k):
    q = np.cumsum(steps)
    assert find_perfusion_interval(q, k) == literal_rule(q, k)


def test_a_triangular_bolus():
    q = np.concatenate([np.zeros(4), np.arange(8), np.arange(8)[::-1], np.zeros(5)])
    # Rises from frame 4 on; falls last from frame 18 to 19, so that 18 has the last falling difference.
    assert find_perfusion_interval(q, 5) == (4, 18)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="total_intensity: expected shape"):
        find_perfusion_interval(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="consecutive_frames: expected at least 1, got 0"):
        find_perfusion_interval(np.zeros(9), 0)
    with pytest.raises(ValueError, match="consecutive_frames: expected at least 1, got 0"):
        PerfusionCrop(0)
    with pytest.raises(ValueError, match="series: expected 4 dimensions"):
        PerfusionCrop()(torch.zeros(3, 3))


def test_crop_keeps_both_ends_of_the_interval():
    q = np.concatenate([np.zeros(4), np.arange(8), np.arange(8)[::-1], np.zeros(5)])
    series = torch.from_numpy(q).view(-1, 1, 1, 1).expand(-1, 2, 2, 1)
    cropped = PerfusionCrop()(series)
    assert torch.equal(cropped, series[4:19])


def test_without_a_bolus_the_whole_series_stays_and_the_case_says_so():
    series = torch.zeros(20, 2, 2, 1)
    with pytest.warns(UserWarning, match="case 'case_7': no perfusion interval found in 20 frames"):
        output = PerfusionCropd("image")({"image": series, "case": "case_7", "warnings": "earlier"})
    assert len(output["image"]) == 20
    assert output["warnings"].startswith("earlier; no perfusion interval")


def test_uneven_frames_keep_the_same_seconds():
    even_s = np.arange(0, 60, 1.0)
    curve = np.interp(even_s, [8, 30, 41], [0, 10, 0])
    kept = np.r_[0:30, 30:60:3]  # the late phase has every third frame: 4 of them fall, fewer than K
    uneven = torch.from_numpy(curve[kept]).view(-1, 1, 1, 1).expand(-1, 2, 2, 1)
    whole = PerfusionCrop().frames(torch.from_numpy(curve).view(-1, 1, 1, 1), None)
    found = PerfusionCrop().frames(uneven, torch.from_numpy(even_s[kept]))
    assert (even_s[whole][0], even_s[whole][-1]) == (8, 40)
    assert (even_s[kept][found][0], even_s[kept][found][-1]) == (8, 42), "the next frame that there is"
    with pytest.warns(UserWarning, match="no perfusion interval"):
        assert PerfusionCrop().frames(uneven) == slice(None)


@given(st.lists(st.integers(-3, 3), min_size=8, max_size=30), st.floats(0.2, 5))
def test_even_times_change_nothing(steps, dt_s):
    series = torch.from_numpy(np.cumsum(steps)).double().view(-1, 1, 1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert PerfusionCrop().frames(series, dt_s * np.arange(len(series))) == PerfusionCrop().frames(series)


def test_times_are_cropped_next_to_the_series():
    times_s = torch.tensor([*range(30), *range(30, 60, 3)], dtype=torch.float64)
    series = torch.from_numpy(np.interp(times_s, [8, 18, 40], [0, 10, 0])).view(-1, 1, 1, 1)
    output = PerfusionCropd("image")({"image": series, "times_s": times_s})
    assert torch.equal(output["times_s"], times_s)
    assert output["kept_times_s"].tolist()[:: len(output["image"]) - 1] == [8, 42]
    with pytest.raises(ValueError, match="times_s: expected 40 times"):
        PerfusionCrop()(series, times_s[1:])
