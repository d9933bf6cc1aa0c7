import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scripts.transforms import LesionAttentionMap, LesionAttentionMapd


def literal_map(lesion, weight, decay):
    """Eq. 9 of Wang et al. 2020, with the distance to every lesion pixel written out."""
    points = np.argwhere(lesion)
    attention = np.full(lesion.shape, 0.5)
    for place in np.ndindex(lesion.shape):
        if lesion[place]:
            attention[place] = weight
        elif len(points):
            e = np.exp(-np.sqrt(((points - place) ** 2).sum(axis=1)).min() / decay)
            attention[place] = 0.5 + e / (e + 1)
    return attention


@given(arrays(np.bool_, (7, 9)), st.floats(1, 3), st.floats(1, 80))
def test_agrees_with_the_equation(lesion, weight, decay):
    attention = LesionAttentionMap(weight, decay)(lesion[None].astype(np.float32))
    np.testing.assert_allclose(attention[0], literal_map(lesion, weight, decay), rtol=1e-5)


def test_hand_computed_with_the_values_of_the_paper():
    label = torch.zeros(1, 1, 60)
    label[0, 0, 0] = 1
    attention = LesionAttentionMap()(label)
    assert attention[0, 0, 0] == 1.5
    # exp(-50 / 50) = 0.36788, and 0.36788 / 1.36788 = 0.26894.
    assert attention[0, 0, 50].item() == pytest.approx(0.76894, abs=1e-5)


def test_slices_do_not_see_each_other():
    label = np.zeros((1, 5, 5, 3), dtype=np.uint8)
    label[0, 2, 2, 1] = 1
    attention = LesionAttentionMap()(label)
    assert attention.dtype == np.float32
    np.testing.assert_array_equal(attention[..., [0, 2]], 0.5)
    np.testing.assert_allclose(attention[0, ..., 1], literal_map(label[0, ..., 1] > 0, 1.5, 50), rtol=1e-6)


def test_dictionary_version():
    output = LesionAttentionMapd("label")({"label": torch.ones(1, 4, 4)})
    assert torch.equal(output["attention"], torch.full((1, 4, 4), 1.5))
    assert torch.equal(output["label"], torch.ones(1, 4, 4))


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="lesion_weight: expected at least 1, got 0.5"):
        LesionAttentionMap(lesion_weight=0.5)
    with pytest.raises(ValueError, match="decay_pixels: expected above 0, got 0"):
        LesionAttentionMap(decay_pixels=0)
    with pytest.raises(ValueError, match="label: expected shape"):
        LesionAttentionMap()(torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="keys: expected the one key"):
        LesionAttentionMapd(["label", "dwi"])
