import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from scripts.networks import StrokeLesionNet, TrainingOutputs, UNet, WithSynthesis

SMALL = (4, 8, 8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return StrokeLesionNet(SMALL).eval()


@pytest.fixture
def image():
    return torch.rand(2, 11, 32, 32, generator=torch.Generator().manual_seed(0))


def test_training_outputs(network, image):
    expected = network.synthesize(image)
    outputs = TrainingOutputs(network)(image)
    assert list(outputs) == ["logits", "pseudo_dwi", "high_level_feature"]
    for name, tensor in outputs.items():
        torch.testing.assert_close(tensor, getattr(expected, name))


def test_with_synthesis(network, image):
    expected = network.synthesize(image)
    output = WithSynthesis(network)(image)
    torch.testing.assert_close(output[:, :2], expected.logits)
    torch.testing.assert_close(output[:, 2:], expected.pseudo_dwi)


def test_any_network_with_one_tensor(image):
    network = UNet(11, 2, SMALL).eval()
    expected = network(image)
    torch.testing.assert_close(WithSynthesis(network)(image), expected)
    outputs = TrainingOutputs(network)(image)
    assert list(outputs) == ["logits"]
    torch.testing.assert_close(outputs["logits"], expected)


@pytest.mark.parametrize("wrapper", [TrainingOutputs, WithSynthesis])
def test_bfloat16_is_close_and_comes_back_in_float32(network, image, wrapper):
    exact, rough = wrapper(network)(image), wrapper(network, amp=True)(image)
    exact = exact["logits"] if isinstance(exact, dict) else exact
    rough = rough["logits"] if isinstance(rough, dict) else rough
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.05 * exact.abs().max().item(), rtol=0)


def test_training_in_bfloat16_gives_float32_gradients(network, image):
    TrainingOutputs(network.train(), amp=True)(image)["logits"].square().mean().backward()
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in network.parameters())


def test_wrapping_again_copies_no_weight(network):
    TrainingOutputs(network)
    before = {name: parameter.data_ptr() for name, parameter in network.named_parameters()}
    weights = [parameter for parameter in network.parameters() if parameter.dim() == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    TrainingOutputs(network)
    assert before == {name: parameter.data_ptr() for name, parameter in network.named_parameters()}


def test_parameters_keep_their_identity_and_names(network):
    parameters = dict(network.named_parameters())
    wrapper = TrainingOutputs(network)
    assert wrapper.network is network
    for name, parameter in wrapper.network.named_parameters():
        assert parameter is parameters[name]


def test_metadata_is_left_behind(network, image):
    output = WithSynthesis(network)(MetaTensor(image))
    assert type(output) is torch.Tensor
    torch.testing.assert_close(output, WithSynthesis(network)(image))


def test_network_sees_channels_last(image):
    class Spy(nn.Module):
        def forward(self, x):
            assert x.is_contiguous(memory_format=torch.channels_last)
            return x

    assert TrainingOutputs(Spy())(image)["logits"].shape == image.shape


def test_bad_network():
    with pytest.raises(TypeError, match=r"network must be a torch.nn.Module, got str"):
        WithSynthesis("network")


class Sided(nn.Module):
    """A network that sees only the first half of the first image axis, and so depends on the side."""

    def forward(self, image: Tensor) -> Tensor:
        value = image[:, :1] * (torch.arange(image.shape[2]) < image.shape[2] // 2).view(1, 1, -1, 1)
        return torch.cat([-value, value], dim=1)


def test_mirrored_prediction_is_the_mean_probability_of_both_sides():
    network, image = Sided(), torch.randn(2, 3, 8, 6)
    probability = torch.softmax(WithSynthesis(network, mirror=True)(image), 1)
    mirrored = torch.softmax(network(image.flip(2)), 1).flip(2)
    torch.testing.assert_close(probability, (torch.softmax(network(image), 1) + mirrored) / 2)
    torch.testing.assert_close(
        probability, torch.softmax(WithSynthesis(network, mirror=True)(image.flip(2)), 1).flip(2)
    )


def test_mirroring_averages_the_pseudo_dwi():
    network = StrokeLesionNet(features=(2, 4)).eval()
    image = torch.rand(1, 11, 16, 16)
    with torch.no_grad():
        expected = (network.synthesize(image).pseudo_dwi + network.synthesize(image.flip(2)).pseudo_dwi.flip(2)) / 2
        torch.testing.assert_close(WithSynthesis(network, mirror=True)(image)[:, 2:], expected)
