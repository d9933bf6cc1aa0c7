"""The layers against those that they stand in for."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from scripts.networks.inference_layers import (
    HalvingMaxPool,
    PackedConvolution,
    SignReLU,
    is_halving_max_pool,
    is_packable,
)

needs_bfloat16 = pytest.mark.skipif(
    not is_packable(nn.Conv2d(1, 1, 1).bfloat16()), reason="this machine does not convolve in bfloat16"
)


@needs_bfloat16
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(6, 16, 3, padding=1, bias=False),
        nn.Conv2d(6, 8, (1, 3), stride=2, padding=(0, 1)),
        nn.Conv2d(6, 12, 3, dilation=2, groups=3),
        nn.ConvTranspose2d(6, 16, 2, stride=2),
        nn.ConvTranspose2d(6, 9, 3, stride=2, padding=1, output_padding=1, groups=3, bias=False),
    ],
    ids=repr,
)
def test_packed_convolution(convolution, memory_format, rectified):
    x = torch.randn(2, 6, 17, 20, generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
    convolution = convolution.bfloat16()
    with torch.no_grad():
        exact = deepcopy(convolution).double()(x.bfloat16().double())
        found = PackedConvolution(convolution, rectified)(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact.clamp_min(0) if rectified else exact, atol=1e-2, rtol=2**-8)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 2, 1),
        nn.Conv2d(2, 2, 3, padding="same").bfloat16(),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect").bfloat16(),
        nn.Conv3d(2, 2, 1).bfloat16(),
        nn.Linear(2, 2).bfloat16(),
    ],
    ids=repr,
)
def test_not_packable(module):
    assert not is_packable(module)


@given(st.lists(st.floats(width=16, allow_nan=False), min_size=1))
def test_sign_relu(values):
    x = torch.tensor(values, dtype=torch.bfloat16)
    expected = x.clone().relu_()
    found = SignReLU()(x)
    assert found is x
    assert torch.equal(found, expected)
    assert not torch.signbit(found).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sign_relu_of_other_types(dtype):
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=dtype)
    assert SignReLU()(x) is x
    assert x.tolist() == [0, 0, 2]


def test_sign_relu_of_channels_last():
    x = torch.randn(2, 3, 4, 5).bfloat16().to(memory_format=torch.channels_last)
    expected = x.relu()
    assert torch.equal(SignReLU()(x), expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(2, 2), (5, 8), (6, 7), (3, 9)])
def test_halving_max_pool(size, memory_format):
    x = torch.randn(2, 3, *size).bfloat16().to(memory_format=memory_format)
    found = HalvingMaxPool()(x)
    assert torch.equal(found, nn.MaxPool2d(2)(x))
    assert found.is_contiguous(memory_format=memory_format)


def test_what_halves():
    assert is_halving_max_pool(nn.MaxPool2d(2))
    others = [{"stride": 1}, {"padding": 1}, {"dilation": 2}, {"ceil_mode": True}, {"return_indices": True}]
    assert not any(is_halving_max_pool(nn.MaxPool2d(2, **arguments)) for arguments in others)
    assert not any(map(is_halving_max_pool, (nn.MaxPool2d(3), nn.MaxPool3d(2), nn.AvgPool2d(2))))
