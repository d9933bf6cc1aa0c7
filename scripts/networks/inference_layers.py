"""Replacements of PyTorch layers for bfloat16 inference on a CPU: the same values in less time.

oneDNN has its own memory layout for the weights of a convolution; an ordinary layer converts to it in every call. It
can also fuse the ReLU. PyTorch's elementwise operations on bfloat16 convert each value to float32 and back, which takes
four times as long as a maximum of integers.
"""

from functools import cache
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

_mkldnn = torch.ops.mkldnn  # private operators, which torch.compile takes for frozen weights: see `_can_pack`


class PackedConvolution(nn.Module):
    """A 2D convolution with weights in the layout of oneDNN, and optionally a fused ReLU.

    It has no parameters and is a snapshot of the layer; later changes are not seen.

    Args:
        convolution: for which `is_packable` is true.
        rectified: whether a ReLU follows.
    """

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d, rectified: bool = False) -> None:
        super().__init__()
        self.description = repr(convolution)
        self.activation = "relu" if rectified else "none"
        places = [convolution.padding]
        operator, reorder = _mkldnn._convolution_pointwise, _mkldnn._reorder_convolution_weight
        if isinstance(convolution, nn.ConvTranspose2d):
            places.append(convolution.output_padding)
            operator = _mkldnn._convolution_transpose_pointwise
            reorder = _mkldnn._reorder_convolution_transpose_weight
        self.operator = operator
        self.places = (*places, convolution.stride, convolution.dilation, convolution.groups)
        self.weight = reorder(convolution.weight.detach(), *self.places)
        self.bias = None if convolution.bias is None else convolution.bias.detach()

    def extra_repr(self) -> str:
        """Description, shown when the module is printed."""
        return f"{self.description}, activation={self.activation}"

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (N, C, H, W), brought to bfloat16 as autocast would."""
        y: Tensor = self.operator(x.bfloat16(), self.weight, self.bias, *self.places, self.activation, [], "")
        return y


def is_packable(module: nn.Module) -> TypeGuard[nn.Conv2d | nn.ConvTranspose2d]:
    """Whether this is a convolution with bfloat16 weights on a CPU that has oneDNN and instructions for bfloat16."""
    return (
        (type(module) is nn.Conv2d or type(module) is nn.ConvTranspose2d)  # a subclass may do more
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.bfloat16
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and _can_pack()
    )


@cache
def _can_pack() -> bool:
    """Whether oneDNN's operators are there, convolve in bfloat16, and take the arguments that they are given here.

    They are private to PyTorch: where a version of it lacks or changes them, its own layers are run.
    """
    try:
        if not (torch.backends.mkldnn.is_available() and _mkldnn._is_mkldnn_bf16_supported()):
            return False
        for layer in (nn.Conv2d, nn.ConvTranspose2d):
            convolution = skip_init(layer, 1, 1, 1, dtype=torch.bfloat16)  # draws no random weights
            PackedConvolution(convolution, rectified=True)(torch.zeros(1, 1, 2, 2))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return True


class SignReLU(nn.Module):
    """In-place ReLU on the sign bit of bfloat16, which is that of a 16-bit integer.

    Negative integers become 0, which is 0.0. A NaN with the sign bit set becomes 0, too.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Rectify ``x`` of any shape."""
        if x.dtype != torch.bfloat16:
            return x.relu_()
        x.view(torch.int16).clamp_min_(0)
        return x


class HalvingMaxPool(nn.Module):
    """Maximum of 2 x 2 pixels, as ``MaxPool2d(2)``, without the indices that only the gradient needs."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (N, C, H, W) to (N, C, H // 2, W // 2)."""
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        lines = torch.maximum(x[:, :, 0:height:2, :width], x[:, :, 1:height:2, :width])
        return torch.maximum(lines[..., 0::2], lines[..., 1::2])


def is_halving_max_pool(module: nn.Module) -> bool:
    """Whether `HalvingMaxPool` is equivalent to this module."""
    return type(module) is nn.MaxPool2d and (
        (module.kernel_size, module.stride, module.padding, module.dilation) == (2, 2, 0, 1)
        and not (module.ceil_mode or module.return_indices)
    )
