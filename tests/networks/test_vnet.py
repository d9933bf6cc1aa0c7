import pytest
import torch
from monai.networks.nets import VNet as MonaiVNet
from torch.nn import functional as F

from scripts.networks import VNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    return VNet(3, 2, width=2, dropout=0.0).eval()


def test_default_width_is_the_vnet_of_monai():
    with torch.device("meta"):
        published, network = MonaiVNet(spatial_dims=3, in_channels=4, out_channels=2), VNet(4, 2)
    torch.manual_seed(0)
    weights = {
        name: torch.rand(tensor.shape).sub_(0.5).mul_(0.1) if tensor.dim() > 1 else torch.ones(tensor.shape)
        for name, tensor in published.state_dict().items()
    }
    published.load_state_dict(weights, assign=True)
    # The parts stand in the same order.
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)), assign=True)
    x = torch.rand(1, 4, 16, 32, 16)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), published.eval()(x))


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 20, 5), (8, 16, 1)])
def test_scripted_equals_eager_at_any_size(network, size):
    x = torch.rand(1, 3, *size)
    y = network(x)
    assert y.shape == (1, 2, *size)
    torch.testing.assert_close(torch.jit.script(network)(x), y)


def test_volumes_are_padded_with_their_last_slice(network):
    x = torch.rand(1, 3, 16, 16, 6)
    padded = torch.cat([x, x[..., -1:].expand(-1, -1, -1, -1, 10)], dim=-1)
    torch.testing.assert_close(network(x), network(padded)[..., :6])
    torch.testing.assert_close(network(padded), network(F.pad(padded, [0] * 6)))


@pytest.mark.parametrize(("channels", "width"), [(4, 4), (5, 4)])
def test_any_number_of_channels_learns(channels, width):
    torch.manual_seed(0)
    network = VNet(channels, 2, width)
    network(torch.rand(2, channels, 32, 32, 16)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and (p.grad != 0).any() for p in network.parameters())


def test_bfloat16_and_channels_last(network):
    x = torch.rand(1, 3, 32, 32, 4)
    exact = network(x)
    network = network.to(memory_format=torch.channels_last_3d)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(network(x), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(x).float()
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.05 * exact.abs().max().item(), rtol=0)


def test_weights_start_from_xavier():
    convolution = VNet(4, 2, width=4).encoder[0].down_conv
    bound = (6 / (8 * (4 + 8))) ** 0.5
    assert 0.9 * bound < convolution.weight.abs().max() <= bound


def test_bad_input(network):
    with pytest.raises(ValueError, match=r"must have shape \(N, 3, H, W, D\), got \[1, 3, 32, 32\]"):
        network(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"width must be at least 1, got 3, 2 and 0"):
        VNet(3, 2, width=0)
