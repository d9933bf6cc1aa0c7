import pytest
import torch
from torch import nn

from scripts.networks import SLNet, SwitchableNorm2d, UNet
from scripts.networks.initialization import initialize_xavier

PAPER = (64, 128, 256, 512, 1024)
SMALL = (4, 8, 8)


def millions(network):
    return round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2)


@pytest.mark.parametrize(
    ("network", "arguments", "expected"),
    [
        (UNet, {}, 31.04),
        (SLNet, {}, 33.84),
        (SLNet, {"squeeze_excitation": False}, 31.04),
        (SLNet, {"norm": "batch"}, 33.84),
    ],
)
def test_parameter_counts_of_table_3(network, arguments, expected):
    with torch.device("meta"):
        assert millions(network(4, 2, PAPER, **arguments)) == expected


def test_count_from_the_layers_formula():
    """Weights of 18 convolutions, 4 transposed and one 1 x 1 convolution, added up by hand for widths 2, 4, 8."""
    blocks = 9 * (3 * 2 + 2 * 2 + 2 * 4 + 4 * 4 + 4 * 8 + 8 * 8 + 8 * 4 + 4 * 4 + 4 * 2 + 2 * 2)
    normalizations = 2 * 2 * (2 + 4 + 8 + 4 + 2)
    transposed = 4 * (8 * 4 + 4 * 2) + 4 + 2
    assert (
        sum(p.numel() for p in UNet(3, 5, (2, 4, 8)).parameters()) == blocks + normalizations + transposed + 2 * 5 + 5
    )


@pytest.mark.parametrize("size", [(16, 16), (4, 4), (17, 30), (5, 7), (23, 16)])
@pytest.mark.parametrize("network", [UNet, SLNet])
def test_any_size_keeps_its_shape(network, size):
    assert network(3, 2, SMALL)(torch.rand(2, 3, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize("size", [(16, 20), (17, 23)])
@pytest.mark.parametrize("norm", ["batch", "instance", ("group", {"num_groups": 2}), "switchable"])
def test_scripted_equals_eager(norm, size):
    torch.manual_seed(0)
    network = UNet(3, 2, SMALL, norm, squeeze_excitation=True).eval()
    x = torch.rand(2, 3, *size)
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))


def test_channels_last_equals_contiguous():
    torch.manual_seed(0)
    network = SLNet(3, 2, SMALL).double()
    x = torch.rand(2, 3, 16, 16, dtype=torch.double)
    expected = network(x)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x.contiguous(memory_format=torch.channels_last)), expected)


def test_receptive_field_of_a_single_level():
    """Two 3 x 3 convolutions and no pooling: a pixel changes the output up to two pixels away and no further."""
    torch.manual_seed(0)
    network = UNet(1, 1, (4,)).eval()
    x = torch.zeros(1, 1, 9, 9)
    changed = x.clone()
    changed[0, 0, 4, 4] = 10.0
    difference = (network(changed) - network(x))[0, 0].abs() > 0
    assert not difference[[0, 1, 7, 8]].any()
    assert not difference[:, [0, 1, 7, 8]].any()
    assert difference.any()


def test_slnet_calibrates_every_encoder_block_and_normalizes_with_sn():
    network = SLNet(1, 2, SMALL)
    assert sum(isinstance(module, SwitchableNorm2d) for module in network.modules()) == 10
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert [type(block.calibration).__name__ for block in network.encoder] == ["ChannelSELayer"] * 3
    assert network.encoder[0].calibration.fc[0].out_features == 4  # reduction 1


def test_all_parameters_learn():
    torch.manual_seed(0)
    network = SLNet(1, 2, SMALL)
    network(torch.rand(2, 1, 16, 16)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and (p.grad != 0).any() for p in network.parameters())


def test_xavier_bounds_and_zero_biases():
    convolution = nn.Conv2d(3, 5, 3)
    transposed = nn.ConvTranspose2d(4, 2, 2, stride=2)
    initialize_xavier(nn.Sequential(convolution, transposed))
    for layer, fan_sum in ((convolution, 9 * (3 + 5)), (transposed, 4 * (4 + 2))):
        bound = (6 / fan_sum) ** 0.5
        assert 0.7 * bound < layer.weight.abs().max() <= bound
        assert (layer.bias == 0).all()


def test_wrong_channels():
    with pytest.raises(ValueError, match=r"must have shape \(N, 3, H, W\), got \[1, 4, 16, 16\]"):
        UNet(3, 2, SMALL)(torch.rand(1, 4, 16, 16))


def test_too_small():
    with pytest.raises(ValueError, match=r"height and width must be at least 4, got \[1, 3, 3, 16\]"):
        UNet(3, 2, SMALL)(torch.rand(1, 3, 3, 16))


@pytest.mark.parametrize("arguments", [(0, 1, (4,)), (1, 0, (4,)), (1, 1, (4, 0)), (1, 1, ())])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="in_channels, out_channels and every entry of features must be at least 1"):
        UNet(*arguments)
