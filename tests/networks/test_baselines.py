import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scripts.networks import FCN, PSPNet, R2UNet, ResUNet, SLNet, UNet
from scripts.networks.padding import pad_to_size
from scripts.networks.r2unet import RecurrentConvolution
from scripts.networks.resunet import ResidualBlock

NETWORKS = [
    (FCN, (4, 4, 8, 8, 8), 32),
    (R2UNet, (4, 8, 8), 4),
    (ResUNet, (4, 8, 8), 4),
    (PSPNet, (2, 2, 4, 4), 8),
]
PUBLISHED = (64, 128, 256, 512, 1024)


@pytest.mark.parametrize(
    ("network", "arguments", "expected"),
    [
        (FCN, {"features": (64, 128, 256, 512, 512)}, 18.64),
        (UNet, {"features": PUBLISHED}, 31.04),
        (R2UNet, {"features": PUBLISHED}, 39.09),
        (ResUNet, {"features": PUBLISHED}, 81.91),
        (SLNet, {"features": PUBLISHED}, 33.84),
        (SLNet, {"features": PUBLISHED, "squeeze_excitation": False}, 31.04),
        (SLNet, {"features": PUBLISHED, "norm": "batch"}, 33.84),
    ],
)
def test_parameter_counts_of_table_3(network, arguments, expected):
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in network(4, 2, **arguments).parameters())
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
    gradients = [p.grad for name, p in model.named_parameters() if not name.startswith("auxiliary.")]
    assert all(torch.isfinite(gradient).all() and (gradient != 0).any() for gradient in gradients)


@pytest.mark.parametrize(("network", "features", "min_size"), NETWORKS)
def test_bfloat16_and_channels_last(network, features, min_size):
    torch.manual_seed(0)
    model, x = network(3, 2, features).eval(), torch.rand(2, 3, 64, 64)
    exact = model(x)
    model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(x).float()
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.05 * exact.abs().max().item(), rtol=0)


@pytest.mark.parametrize(("network", "features", "min_size"), NETWORKS)
def test_weights_start_from_xavier(network, features, min_size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolutions = [m for m in network(3, 2, features).modules() if isinstance(m, nn.Conv2d)]
    for layer in convolutions:
        bound = (6 / (layer.weight[0, 0].numel() * (layer.in_channels + layer.out_channels))) ** 0.5
        assert layer.weight.abs().max() <= bound
        assert layer.bias is None or (layer.bias == 0).all()


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


def test_residual_block_written_out():
    torch.manual_seed(0)
    block, x = ResidualBlock(3, 4).eval(), torch.randn(1, 3, 8, 8)
    first, second, shortcut = (module for module in block.modules() if isinstance(module, nn.Conv2d))
    scale = (1 + 1e-5) ** 0.5
    y = F.relu(F.conv2d(x, first.weight, first.bias, padding=1) / scale)
    y = F.conv2d(y, second.weight, second.bias, padding=1) / scale
    torch.testing.assert_close(block(x), F.relu(y + F.conv2d(x, shortcut.weight, shortcut.bias) / scale))


def test_residual_block_of_equal_widths_adds_the_input_itself():
    block = ResidualBlock(4, 4).eval()
    assert isinstance(block.shortcut, nn.Identity)
    nn.init.zeros_(block.convolutions[1].conv.weight)
    nn.init.zeros_(block.convolutions[1].conv.bias)
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(block(x), F.relu(x))


def test_resunet_needs_a_block():
    with pytest.raises(ValueError, match="blocks must be at least 1, got 0"):
        ResUNet(1, 2, (4, 8), blocks=0)


def test_pad_to_size():
    x = torch.ones(1, 1, 2, 3)
    assert pad_to_size(x, 2, 3) is x
    padded = pad_to_size(x, 3, 4)
    assert padded.shape == (1, 1, 3, 4)
    assert padded.sum() == 6
    torch.testing.assert_close(padded[:, :, :2, :3], x)
