"""R2UNet of Alom et al. 2018, a baseline in Table 3 of Wang 2020."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from .unet import DecoderBlock, EncoderDecoder


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class RecurrentConvolution(nn.Module):
    """A 3 x 3 convolution with normalization and ReLU, applied again to the sum of the input and its own output."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.convolution = _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        y = self.convolution(x)
        for _ in range(self.steps):
            y = self.convolution(x + y)
        return y


class RecurrentResidualBlock(nn.Module):
    """A 1 x 1 convolution to the block's width and two recurrent convolutions with a residual connection."""

    def __init__(self, in_channels: int, out_channels: int, steps: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.recurrent = nn.Sequential(
            RecurrentConvolution(out_channels, steps), RecurrentConvolution(out_channels, steps)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        x = self.projection(x)
        return x + self.recurrent(x)


class R2UNet(EncoderDecoder):
    """UNet of recurrent residual blocks.

    With the default widths, 4 inputs and 2 outputs it has 39.09 M parameters, the paper's count. Choices that reach
    it: convolutions have biases, each recurrent convolution is applied ``steps + 1`` times with shared weights,
    upsampling is nearest-neighbor by 2 followed by a 3 x 3 convolution with normalization and ReLU.

    Any height and width of at least ``2 ** (len(features) - 1)`` is accepted, as for `UNet`.

    Args:
        in_channels: number of input channels.
        out_channels: number of classes.
        features: channels of the encoder blocks from fine to coarse.
        steps: recurrences of each recurrent convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, features: Sequence[int] = (64, 128, 256, 512, 1024), steps: int = 2
    ) -> None:
        super().__init__(
            in_channels,
            encoder=[
                RecurrentResidualBlock(i, o, steps)
                for i, o in zip((in_channels, *features[:-1]), features, strict=True)
            ],
            decoder=[
                DecoderBlock(
                    nn.Sequential(nn.Upsample(scale_factor=2.0), _convolution(i, o)),
                    RecurrentResidualBlock(2 * o, o, steps),
                )
                for o, i in reversed(list(pairwise(features)))
            ],
            output=nn.Conv2d(features[0], out_channels, kernel_size=1),
        )
