import pytest
import torch

from scripts.transforms import SplitPredictiond


def test_probability_is_the_logistic_of_the_difference_of_logits():
    prediction = torch.randn(3, 4, 4, 2)
    output = SplitPredictiond("pred")({"pred": prediction})
    torch.testing.assert_close(output["pred"], torch.sigmoid(prediction[1:2] - prediction[:1]))
    assert torch.equal(output["pseudo_dwi"], prediction[2:])


def test_a_network_without_synthesis_gives_no_pseudo_dwi():
    output = SplitPredictiond("pred")({"pred": torch.randn(2, 4, 4, 2)})
    assert output["pred"].shape == (1, 4, 4, 2)
    assert "pseudo_dwi" not in output


def test_other_channels_are_an_error():
    with pytest.raises(ValueError, match=r"pred: expected 2 or 3 channels, got shape \(1, 4, 4, 2\)"):
        SplitPredictiond("pred")({"pred": torch.zeros(1, 4, 4, 2)})
