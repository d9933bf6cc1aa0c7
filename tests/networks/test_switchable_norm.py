import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.networks.layers.factories import Norm
from monai.networks.layers.utils import get_norm_layer
from torch import nn

from scripts.networks import SwitchableNorm2d, moment_kernels
from scripts.networks.switchable_norm import plain_switchable_norm

FORMATS = [torch.contiguous_format, torch.channels_last]


def reference(x, layer, training):
    """Equations of Luo et al. in NumPy float64, each normalizer's statistics taken from the tensor on its own."""
    x = x.detach().double().numpy()

    def softmax(logits):
        exponentials = np.exp(logits.detach().double().numpy())
        return exponentials / exponentials.sum()

    def channel(vector):
        return vector.detach().double().numpy()[None, :, None, None]

    means = [x.mean((2, 3), keepdims=True), x.mean((1, 2, 3), keepdims=True)]
    variances = [x.var((2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)]
    if training:
        means.append(x.mean((0, 2, 3), keepdims=True))
        variances.append(x.var((0, 2, 3), keepdims=True))
    else:
        means.append(channel(layer.running_mean))
        variances.append(channel(layer.running_var))
    mean = sum(w * m for w, m in zip(softmax(layer.mean_weight), means, strict=True))
    var = sum(w * v for w, v in zip(softmax(layer.var_weight), variances, strict=True))
    return channel(layer.weight) * (x - mean) / np.sqrt(var + layer.eps) + channel(layer.bias)


def random_layer(channels, seed=0, **arguments):
    generator = torch.Generator().manual_seed(seed)
    layer = SwitchableNorm2d(channels, **arguments)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
        layer.running_mean.normal_(generator=generator)
        layer.running_var.uniform_(0.5, 2.0, generator=generator)
    return layer


def plain(layer, x):
    running = (None, None) if layer.training else (layer.running_mean, layer.running_var)
    return plain_switchable_norm(x, *running, layer.weight, layer.bias, layer.mean_weight, layer.var_weight, layer.eps)[
        0
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4, 3, 6, 5), (1, 3, 6, 5), (2, 1, 4, 4), (3, 8, 1, 1), (2, 16, 32, 32)])
def test_agrees_with_float64_reference(shape, dtype, memory_format, training):
    torch.manual_seed(0)
    layer = random_layer(shape[1]).to(dtype).train(training)
    x = (3 * torch.randn(shape, dtype=dtype) + 1).contiguous(memory_format=memory_format)
    expected = reference(x, layer, training)
    y = layer(x)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=memory_format)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-4 if shape[2] == 1 else 2e-5
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=tolerance, rtol=tolerance)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(2, 9), st.integers(2, 9)),
    offset=st.floats(-50, 50),
    channels_last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_agrees_with_reference_for_any_shape_and_offset(shape, offset, channels_last, seed):
    layer = random_layer(shape[1], seed)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + offset
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    np.testing.assert_allclose(layer(x).detach().numpy(), reference(x, layer, True), atol=3e-4, rtol=1e-3)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_single_normalizer_equals_torch(index):
    """With all weight on one normalizer, the layer is torch's instance, layer or batch normalization."""
    torch.manual_seed(0)
    x = torch.randn(3, 4, 8, 8)
    layer = SwitchableNorm2d(4)
    with torch.no_grad():
        layer.mean_weight[index] = layer.var_weight[index] = 50.0
    other = [nn.InstanceNorm2d(4), nn.GroupNorm(1, 4), nn.BatchNorm2d(4)][index]
    torch.testing.assert_close(layer(x), other(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradients(memory_format, training):
    layer = random_layer(3).double().train(training)
    names = [name for name, _ in layer.named_parameters()]
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, dtype=torch.double).contiguous(memory_format=memory_format).requires_grad_()

    def call(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    inputs = (x, *layer.parameters())
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_plain_form(memory_format, training):
    torch.manual_seed(0)
    layer = random_layer(8).train(training)
    x = (torch.randn(3, 8, 16, 16) + 2).contiguous(memory_format=memory_format).requires_grad_()
    grad = torch.randn(3, 8, 16, 16)  # contiguous: the layer brings it to the input's format
    inputs = (x, *layer.parameters())
    fused = torch.autograd.grad(layer(x), inputs, grad)
    for ours, other in zip(fused, torch.autograd.grad(plain(layer, x), inputs, grad), strict=True):
        torch.testing.assert_close(ours, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("part_bytes", [1, 1000, 3000])
def test_gradients_do_not_depend_on_the_parts(part_bytes, dtype, memory_format, monkeypatch):
    """Large tensors are worked on in parts, the last of which is smaller."""
    torch.manual_seed(0)
    layer = random_layer(6)
    x = (torch.randn(2, 6, 13, 8) + 2).to(dtype, memory_format=memory_format).requires_grad_()
    grad = torch.randn(2, 6, 13, 8).to(dtype, memory_format=memory_format)
    (whole,) = torch.autograd.grad(layer(x), x, grad)
    monkeypatch.setattr(moment_kernels, "_PART_BYTES", part_bytes)
    (parts,) = torch.autograd.grad(layer(x), x, grad)
    assert torch.equal(parts, whole)


def test_gradient_of_parameters_alone():
    layer = random_layer(4)
    layer(torch.randn(2, 4, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_far_from_zero(dtype, memory_format, training):
    """Statistics are held in float32: at an offset of 100, only the output is rounded."""
    torch.manual_seed(0)
    layer = SwitchableNorm2d(16).train(training)
    layer.running_mean.fill_(100.0)
    x = (torch.randn(2, 16, 32, 32) + 100).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    y = layer(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.detach().float().numpy(), reference(x, layer, training), atol=1e-2, rtol=5e-3)

    grad = torch.randn_like(y)
    (ours,) = torch.autograd.grad(y, x, grad)
    x64 = x.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(plain(layer.double(), x64), x64, grad.double())
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), expected, atol=2e-2, rtol=1e-2)


def test_constant_input_is_finite():
    layer = SwitchableNorm2d(4)
    x = torch.full((2, 4, 8, 8), 7.0, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    torch.testing.assert_close(y, torch.zeros_like(y), atol=1e-2, rtol=0)
    assert torch.isfinite(x.grad).all()


def test_running_statistics_follow_the_batch_in_training_alone():
    torch.manual_seed(0)
    layer = SwitchableNorm2d(4, momentum=0.25)
    x = 2 * torch.randn(3, 4, 8, 8) + 5
    layer(x)
    torch.testing.assert_close(layer.running_mean, 0.25 * x.mean((0, 2, 3)))
    torch.testing.assert_close(layer.running_var, 0.75 + 0.25 * x.var((0, 2, 3), correction=0))
    before = layer.running_mean.clone()
    layer.eval()(x)
    torch.testing.assert_close(layer.running_mean, before)


def test_batch_statistics_of_one_item_are_its_instance_statistics():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 8, 8)
    batch, instance = SwitchableNorm2d(4), SwitchableNorm2d(4)
    with torch.no_grad():
        batch.mean_weight[2] = batch.var_weight[2] = 3.0
        instance.mean_weight[0] = instance.var_weight[0] = 3.0
    torch.testing.assert_close(batch(x), instance(x))


@pytest.mark.parametrize("training", [True, False])
def test_scripted_equals_eager(training):
    torch.manual_seed(0)
    layer = random_layer(4).train(training)
    scripted = torch.jit.script(random_layer(4).train(training))
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(scripted(x), layer(x))
    torch.testing.assert_close(scripted.running_var, layer.running_var)


def test_traced_and_exported_equal_eager():
    torch.manual_seed(0)
    layer = random_layer(4).eval()
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(torch.jit.trace(layer, x)(x), layer(x))
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


def test_metatensor_keeps_its_type():
    torch.manual_seed(0)
    layer, x = random_layer(4), torch.randn(2, 4, 8, 8)
    y = layer(MetaTensor(x))
    assert isinstance(y, MetaTensor)
    torch.testing.assert_close(y.as_tensor(), layer(x))


def test_inference_mode_equals_eager():
    torch.manual_seed(0)
    layer, x = random_layer(4).eval(), torch.randn(2, 4, 8, 8)
    with torch.inference_mode():
        y = layer(x)
    torch.testing.assert_close(y, layer(x))


def test_registered_in_monai():
    layer = get_norm_layer(("switchable", {"eps": 1e-3}), spatial_dims=2, channels=7)
    assert isinstance(layer, SwitchableNorm2d)
    assert (layer.num_features, layer.eps) == (7, 1e-3)
    with pytest.raises(ValueError, match="2 spatial dimensions, got 3"):
        Norm["switchable", 3]


def test_printed_form_names_its_arguments():
    assert repr(SwitchableNorm2d(4)) == "SwitchableNorm2d(4, eps=1e-05, momentum=0.1)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_features": 0}, "num_features must be at least 1, got 0"),
        ({"num_features": 2, "eps": 0.0}, "eps must be positive"),
        ({"num_features": 2, "momentum": 1.5}, r"momentum must lie in \[0, 1\], got 1.5"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SwitchableNorm2d(**arguments)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (4, 8, 8), (2, 4, 8, 8, 8)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match=r"x must have shape \(N, 4, H, W\), got"):
        SwitchableNorm2d(4)(torch.zeros(shape))


def test_empty_input():
    with pytest.raises(ValueError, match="x must not be empty"):
        SwitchableNorm2d(4)(torch.zeros(0, 4, 8, 8))
