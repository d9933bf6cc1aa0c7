import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scripts.networks import FCN, R2UNet
from scripts.networks.padding import pad_to_size
from scripts.networks.r2unet import RecurrentConvolution

NETWORKS = [(FCN, (4, 4, 8, 8, 8), 32), (R2UNet, (4, 8, 8), 4)]


@pytest.mark.parametrize(("network", "expected"), [(FCN, 18.64), (R2UNet, 39.09)])
def test_parameter_counts_of_table_3(network, expected):
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in network(4, 2).parameters())
    assert round(count / 1e6, 2) == expected


def test_fcn_encoder_is_vgg16():
    with torch.device("meta"):
        encoder = FCN(3, 2).encoder
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 14_714_688  # torchvision's vgg16().features


@pytest.mark.parametrize(("network", "features", "min_size"), NETWORKS)
@pytest.mark.parametrize("size", [(64, 64), (33, 50)])
def test_scripted_equals_eager_at_any_size(network, features, min_size, size):
    torch.manual_seed(0)
    model = network(3, 2, features).eval()
    x = torch.rand(2, 3, *size)
    y = model(x)
    assert y.shape == (2, 2, *size)
    torch.testing.assert_close(torch.jit.script(model)(x), y)


@pytest.mark.parametrize(("network", "features", "min_size"), NETWORKS)
def test_all_parameters_learn(network, features, min_size):
    torch.manual_seed(0)
    model = network(3, 2, features)
    model(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and (p.grad != 0).any() for p in model.parameters())


@pytest.mark.parametrize(("network", "features", "min_size"), NETWORKS)
def test_bad_input(network, features, min_size):
    model = network(3, 2, features)
    with pytest.raises(ValueError, match=r"must have shape \(N, 3, H, W\), got \[1, 4, 64, 64\]"):
        model(torch.rand(1, 4, 64, 64))
    with pytest.raises(ValueError, match=f"height and width must be at least {min_size}"):
        model(torch.rand(1, 3, min_size - 1, 64))


def test_fcn_needs_five_widths():
    with pytest.raises(ValueError, match="features must have five entries"):
        FCN(1, 2, (8, 8))


def test_recurrent_convolution_written_out():
    torch.manual_seed(0)
    block, x = RecurrentConvolution(3, steps=2).eval(), torch.randn(1, 3, 8, 8)
    convolution = block.convolution[0]
    nn.init.normal_(convolution.bias)

    def step(z):
        return F.relu(F.conv2d(z, convolution.weight, convolution.bias, padding=1) / (1 + 1e-5) ** 0.5)

    torch.testing.assert_close(block(x), step(x + step(x + step(x))))


def test_pad_to_size():
    x = torch.ones(1, 1, 2, 3)
    assert pad_to_size(x, 2, 3) is x
    padded = pad_to_size(x, 3, 4)
    assert padded.shape == (1, 1, 3, 4)
    assert padded.sum() == 6
    torch.testing.assert_close(padded[:, :, :2, :3], x)
