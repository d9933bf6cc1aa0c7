"""ResUNet, the residual UNet that stands as "ResUNet (Xiao et al., 2018)" in Table 3 of Wang 2020."""

from collections.abc import Sequence
from itertools import pairwise

from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn
from torch.nn import functional as F

from .unet import DecoderBlock, EncoderDecoder


def _convolution(in_channels: int, out_channels: int, kernel_size: int = 3, act: str | None = "relu") -> Convolution:
    """A convolution with bias, batch normalization and, unless ``act`` is None, ReLU."""
    return Convolution(2, in_channels, out_channels, kernel_size=kernel_size, adn_ordering="NA", norm="batch", act=act)


def _double_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(_convolution(in_channels, out_channels), _convolution(out_channels, out_channels))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with normalization, added to the input before the last ReLU (He et al. 2016).

    Where the width changes, the input passes a 1 x 1 convolution with normalization. MONAI's ``ResNetBlock`` has no
    biases and its ``ResidualUnit`` normalizes neither the sum nor the shortcut, so neither meets the published count.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            _convolution(in_channels, out_channels), _convolution(out_channels, out_channels, act=None)
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else _convolution(in_channels, out_channels, kernel_size=1, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        return F.relu(self.convolutions(x) + self.shortcut(x))


def _residual_blocks(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(in_channels, out_channels),
        *(ResidualBlock(out_channels, out_channels) for _ in range(blocks - 1)),
    )


class ResUNet(EncoderDecoder):
    """UNet whose encoder is a residual network below its finest level.

    With the default widths, 4 inputs and 2 outputs it has 81.91 M parameters, the paper's count. A UNet with one
    residual block instead of each pair of convolutions has 32.4 M. The count is met by three residual blocks at each of
    the four coarser levels of the encoder, as in the stages of a ResNet, with UNet's own two convolutions at the finest
    level and in the decoder; every convolution has a bias, and upsampling is a transposed 2 x 2 convolution with
    normalization and ReLU. The weighted attention of Xiao et al. is left out: Wang et al. speak of the residual UNet
    alone.

    Any height and width of at least ``2 ** (len(features) - 1)`` is accepted, as for `UNet`.

    Args:
        in_channels: number of input channels.
        out_channels: number of classes.
        features: channels of the encoder levels from fine to coarse.
        blocks: residual blocks at each level below the finest.

    Raises:
        ValueError: when ``blocks`` is below 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, features: Sequence[int] = (64, 128, 256, 512, 1024), blocks: int = 3
    ) -> None:
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}.")
        super().__init__(
            in_channels,
            encoder=[
                _double_convolution(in_channels, features[0]),
                *(_residual_blocks(i, o, blocks) for i, o in pairwise(features)),
            ],
            decoder=[
                DecoderBlock(
                    nn.Sequential(
                        nn.ConvTranspose2d(i, o, kernel_size=2, stride=2), nn.BatchNorm2d(o), nn.ReLU(inplace=True)
                    ),
                    _double_convolution(2 * o, o),
                )
                for o, i in reversed(list(pairwise(features)))
            ],
            output=nn.Conv2d(features[0], out_channels, kernel_size=1),
        )
