"""R2UNet of Alom et al. 2018, a baseline in Table 3 of Wang 2020."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .initialisation import initialise_xavier
from .padding import pad_to_size


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class RecurrentConvolution(nn.Module):
    """A 3 x 3 convolution with normalisation and ReLU, applied again to the sum of the input and its own output."""

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


class R2UNet(nn.Module):
    """UNet of recurrent residual blocks.

    With the default widths, 4 inputs and 2 outputs it has 39.09 M parameters, the paper's count. Choices that reach
    it: convolutions have biases, each recurrent convolution is applied ``steps + 1`` times with shared weights,
    upsampling is nearest-neighbour by 2 followed by a 3 x 3 convolution with normalisation and ReLU.

    Any height and width of at least ``2 ** (len(features) - 1)`` is accepted, as for :class:`UNet`.

    Args:
        in_channels: number of input channels.
        out_channels: number of classes.
        features: channels of the encoder blocks from fine to coarse.
        steps: recurrences of each recurrent convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: Sequence[int] = (64, 128, 256, 512, 1024),
        steps: int = 2,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.min_size = 2 ** (len(features) - 1)
        inputs = (in_channels, *features[:-1])
        self.encoder = nn.ModuleList(RecurrentResidualBlock(i, o, steps) for i, o in zip(inputs, features, strict=True))
        coarse_to_fine = tuple(reversed(features))
        pairs = list(zip(coarse_to_fine[:-1], coarse_to_fine[1:], strict=True))
        self.upsample = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2.0), _convolution(i, o)) for i, o in pairs
        )
        self.decoder = nn.ModuleList(RecurrentResidualBlock(2 * o, o, steps) for _, o in pairs)
        self.output = nn.Conv2d(features[0], out_channels, kernel_size=1)
        initialise_xavier(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, out_channels, H, W).

        Raises:
            ValueError: when the number of channels is another, or the height or width is too small to be pooled.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"The input must have shape (N, {self.in_channels}, H, W), got {list(x.shape)}.")
        if x.shape[2] < self.min_size or x.shape[3] < self.min_size:
            raise ValueError(f"The input's height and width must be at least {self.min_size}, got {list(x.shape)}.")
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            if level > 0:
                x = F.max_pool2d(x, 2)
            x = block(x)
            skips.append(x)
        skips.pop()
        for upsample, block in zip(self.upsample, self.decoder):  # noqa: B905  not scriptable otherwise
            skip = skips.pop()
            x = pad_to_size(upsample(x), skip.shape[2], skip.shape[3])
            x = block(torch.cat([skip, x], dim=1))
        return self.output(x)
