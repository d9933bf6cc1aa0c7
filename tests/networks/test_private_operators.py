"""Without PyTorch's private operators the networks give the same, by PyTorch's own layers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from scripts.networks import StrokeLesionNet, SwitchableNorm2d, inference_layers, moment_kernels, switchable_norm
from scripts.networks.inference_form import inference_form
from scripts.networks.inference_layers import PackedConvolution


def refuse(*arguments):
    raise TypeError("other arguments")


WITHOUT = {
    "no operators": {},
    "no bfloat16": {"_is_mkldnn_bf16_supported": lambda: False},
    "other arguments": {
        "_is_mkldnn_bf16_supported": lambda: True,
        "_convolution_pointwise": refuse,
        "_reorder_convolution_weight": refuse,
    },
}


@pytest.fixture
def fresh():
    inference_layers._can_pack.cache_clear()
    yield
    inference_layers._can_pack.cache_clear()


def moved(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    return network.eval()


@pytest.mark.parametrize("operators", WITHOUT.values(), ids=WITHOUT)
def test_inference_in_bfloat16_without_onednn_s_operators(monkeypatch, fresh, operators):
    torch.manual_seed(0)
    network, image = moved(StrokeLesionNet((4, 8))), torch.rand(2, 11, 16, 16)

    def logits() -> tuple[torch.Tensor, int]:
        form = inference_form(network, torch.bfloat16)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return form(image).float(), sum(isinstance(module, PackedConvolution) for module in form.modules())

    with torch.no_grad():
        exact = network(image)
    packed, _ = logits()
    monkeypatch.setattr(inference_layers, "_mkldnn", SimpleNamespace(**operators))
    inference_layers._can_pack.cache_clear()
    plain, n_packed = logits()
    assert n_packed == 0
    torch.testing.assert_close(plain.softmax(1), exact.softmax(1), atol=1e-2, rtol=0)
    torch.testing.assert_close(plain.softmax(1), packed.softmax(1), atol=1e-2, rtol=0)


def test_asking_for_the_operators_draws_no_random_numbers(fresh):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    inference_layers._can_pack()
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("name", moment_kernels._KERNELS)
def test_switchable_normalization_without_the_kernels(monkeypatch, name):
    torch.manual_seed(0)
    layer = SwitchableNorm2d(3)
    x = torch.randn(2, 3, 5, 5, requires_grad=True)
    fused = torch.autograd.grad(layer(x).square().sum(), (x, *layer.parameters()))
    kernels = {key: getattr(torch.ops.aten, key) for key in moment_kernels._KERNELS if key != name}
    monkeypatch.setattr(moment_kernels, "_aten", SimpleNamespace(**kernels))
    assert not switchable_norm._fused_applies(x)
    plain = torch.autograd.grad(layer(x).square().sum(), (x, *layer.parameters()))
    torch.testing.assert_close(plain, fused, atol=1e-4, rtol=1e-4)
