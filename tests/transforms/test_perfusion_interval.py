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
