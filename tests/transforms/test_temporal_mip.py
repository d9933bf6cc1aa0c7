import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.data import MetaTensor

from scripts.transforms import TemporalMIP, TemporalMIPd

SERIES = arrays(np.float32, (5, 2, 3, 2), elements=st.floats(-1000, 3000, width=32))


@given(SERIES)
def test_is_the_largest_value_over_time(series):
    expected = np.sort(series, axis=0)[-1:]
    np.testing.assert_array_equal(TemporalMIP()(series), expected)
    np.testing.assert_array_equal(TemporalMIP()(torch.from_numpy(series)).numpy(), expected)


@given(SERIES, st.permutations(range(5)))
def test_does_not_depend_on_the_order_of_frames(series, order):
    np.testing.assert_array_equal(TemporalMIP()(series[list(order)]), TemporalMIP()(series))


def test_dictionary_version_keeps_the_series_and_the_affine():
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
    series = MetaTensor(torch.rand(4, 3, 3, 2), affine=affine)
    output = TemporalMIPd("image", output_key="mip")({"image": series})
    assert output["image"] is series
    assert output["mip"].shape == (1, 3, 3, 2)
    assert torch.equal(output["mip"].affine, affine)


def test_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"series: expected 4 dimensions \(T, H, W, D\), got shape \(3, 3, 2\)"):
        TemporalMIP()(torch.zeros(3, 3, 2))
    with pytest.raises(ValueError, match="keys: expected the one key"):
        TemporalMIPd(["image", "label"])
