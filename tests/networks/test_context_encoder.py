import pytest
import torch
from torch import nn

from scripts.networks import ContextEncoder


@pytest.mark.parametrize("size", [(256, 256), (192, 192), (64, 48), (33, 20)])
def test_code_has_16_values_for_any_size(size):
    assert ContextEncoder()(torch.rand(2, 1, *size)).shape == (2, 16)


def test_structure_of_figure_4():
    layers = list(ContextEncoder().modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.kernel_size, c.stride) for c in convolutions] == [((3, 3), (2, 2))] * 5
    assert sum(isinstance(layer, nn.AdaptiveAvgPool2d) for layer in layers) == 2


def test_code_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    encoder, images = ContextEncoder(), torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(encoder(images)[1:2], encoder(images[1:2]))


def test_gradcheck():
    torch.manual_seed(0)
    encoder = ContextEncoder(features=(2, 2, 2, 2, 3), grid=2).double()
    assert torch.autograd.gradcheck(encoder, torch.rand(1, 1, 32, 32, dtype=torch.double, requires_grad=True))


def test_scriptable():
    torch.manual_seed(0)
    encoder, image = ContextEncoder(), torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(torch.jit.script(encoder)(image), encoder(image))


def test_bad_input():
    with pytest.raises(ValueError, match=r"image must have shape \(N, 1, H, W\), got \[2, 2, 64, 64\]"):
        ContextEncoder()(torch.rand(2, 2, 64, 64))
    with pytest.raises(ValueError, match="features must have five entries"):
        ContextEncoder(features=(8, 16))
