"""The 2D UNet of Ronneberger et al. 2015 with same-padding, normalization and optional squeeze-and-excitation."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn

from . import switchable_norm  # noqa: F401  registers "switchable" in MONAI's Norm factory
from .initialization import initialize_xavier
from .padding import pad_to_size

Normalization = str | tuple[str, dict]


def convolution_block(in_channels: int, out_channels: int, norm: Normalization) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with normalization and ReLU.

    The convolutions have no bias: the normalization that follows would subtract it.
    """
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, kernel_size=3, padding=1, bias=False),
            get_norm_layer(norm, spatial_dims=2, channels=out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class EncoderBlock(nn.Module):
    """A convolution block, followed by channel calibration when ``squeeze_excitation`` is set (reduction 1)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Normalization, squeeze_excitation: bool) -> None:
        super().__init__()
        self.convolutions = convolution_block(in_channels, out_channels, norm)
        self.calibration = ChannelSELayer(2, out_channels, r=1) if squeeze_excitation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        return self.calibration(self.convolutions(x))


class DecoderBlock(nn.Module):
    """Upsampling by 2, concatenation with the encoder's feature map of that size, convolutions.

    Args:
        upsample: maps (N, in_channels, h, w) to (N, out_channels, 2h, 2w).
        convolutions: map (N, 2 out_channels, H, W) to (N, out_channels, H, W).
    """

    def __init__(self, upsample: nn.Module, convolutions: nn.Module) -> None:
        super().__init__()
        self.upsample = upsample
        self.convolutions = convolutions

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map ``x`` (N, in_channels, h, w) and ``skip`` (N, out_channels, H, W) to (N, out_channels, H, W)."""
        x = pad_to_size(self.upsample(x), skip.shape[2], skip.shape[3])
        return self.convolutions(torch.cat([skip, x], dim=1))


class EncoderDecoder(nn.Module):
    """Base of the UNets: encoder blocks with max pooling between them, decoder blocks, a 1 x 1 convolution.

    Args:
        in_channels: number of input channels.
        encoder: blocks from fine to coarse.
        decoder: blocks from coarse to fine, of (feature map, the encoder's feature map).
        output: maps the last feature map to the output.
    """

    def __init__(
        self, in_channels: int, encoder: Iterable[nn.Module], decoder: Iterable[nn.Module], output: nn.Module
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.encoder = nn.ModuleList(encoder)
        self.pool: nn.Module = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList(decoder)
        self.output = output
        self.min_size = 2 ** (len(self.encoder) - 1)
        initialize_xavier(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W).

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
                x = self.pool(x)
            x = block(x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = block(x, skips.pop())
        return self.output(x)


class UNet(EncoderDecoder):
    """UNet with max pooling, transposed convolutions and two convolutions a block.

    With ``features`` (64, 128, 256, 512, 1024), 4 inputs and 2 outputs it has 31.04 M parameters. Choices that the
    papers leave open: convolutions before a normalization have no bias, transposed convolutions and the last 1 x 1
    convolution have one; the first ``len(features) - 1`` blocks are followed by max pooling; Xavier initialization.

    Any height and width of at least ``2 ** (len(features) - 1)`` is accepted: where a size is odd before pooling, the
    decoder pads its feature map with zeros at the lower right to the encoder's size.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels; the output is linear.
        features: channels of the encoder blocks from fine to coarse, at least one.
        norm: normalization in MONAI's notation, as ``"batch"``, ``"instance"``, ``"switchable"`` or
            ``(name, arguments)``.
        squeeze_excitation: calibrate the channels after each encoder block (Hu et al. 2018, reduction 1).

    Raises:
        ValueError: when a channel count is below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: Sequence[int] = (16, 32, 64, 128, 256),
        norm: Normalization = "batch",
        squeeze_excitation: bool = False,
    ) -> None:
        if min(in_channels, out_channels, len(features), *features) < 1:
            raise ValueError(
                "in_channels, out_channels and every entry of features must be at least 1, "
                f"got {in_channels}, {out_channels} and {tuple(features)}."
            )
        super().__init__(
            in_channels,
            encoder=[
                EncoderBlock(i, o, norm, squeeze_excitation)
                for i, o in zip((in_channels, *features[:-1]), features, strict=True)
            ],
            decoder=[
                DecoderBlock(nn.ConvTranspose2d(i, o, kernel_size=2, stride=2), convolution_block(2 * o, o, norm))
                for o, i in reversed(list(pairwise(features)))
            ],
            output=nn.Conv2d(features[0], out_channels, kernel_size=1),
        )
