import pytest
import torch

from bundle.benchmark.normalization import plain_switchable
from scripts.networks import SwitchableNorm2d, switchable_norm

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=cuda)])
def test_the_plain_form_is_the_layer_in_training(device):
    torch.manual_seed(0)
    layer = SwitchableNorm2d(5).to(device)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    x = (torch.randn(3, 5, 6, 7, device=device) + 2).requires_grad_()
    ours, plain = layer(x), plain_switchable(x, layer)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    inputs = (x, *layer.parameters())
    grad = torch.randn_like(x)
    for a, b in zip(torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(plain, inputs, grad), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_plain_form_is_the_layer_in_evaluation():
    torch.manual_seed(0)
    layer = SwitchableNorm2d(5).eval()
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 5, 6, 7) + 2
    torch.testing.assert_close(layer(x), plain_switchable(x, layer), atol=1e-5, rtol=1e-5)


def test_the_plain_form_does_not_use_the_kernels(monkeypatch):
    monkeypatch.setattr(switchable_norm, "instance_moments", None)
    layer, x = SwitchableNorm2d(2), torch.randn(1, 2, 3, 3)
    with pytest.raises(TypeError):
        layer(x)
    assert plain_switchable(x, layer).shape == x.shape
