"""The context encoder Phi_c of Wang 2020 (Eq. 8, Fig. 4), which compares images in a compact representation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .initialization import initialize_xavier


class ContextEncoder(nn.Module):
    """Five 3 x 3 convolutions of stride 2 and two adaptive average poolings; an image becomes a vector of 16.

    Choices that the paper leaves open: every convolution has padding 1 and a bias; the first four are followed by a
    leaky ReLU of slope 0.2, the last is linear; there is no normalization, so the code of an image does not depend on
    its batch. The first pooling stands before the last convolution and brings any image size to ``grid`` x ``grid``;
    the second one leaves one value for each of the last convolution's channels.

    Args:
        in_channels: channels of the image.
        features: channels of the five convolutions; the last is the length of the code.
        grid: side of the first pooling's output.

    Raises:
        ValueError: when ``features`` does not have five entries.
    """

    def __init__(self, in_channels: int = 1, features: Sequence[int] = (8, 16, 32, 64, 16), grid: int = 8) -> None:
        super().__init__()
        if len(features) != 5:
            raise ValueError(f"features must have five entries, got {tuple(features)}.")
        self.in_channels = in_channels
        inputs = (in_channels, *features[:-1])
        layers: list[nn.Module] = []
        for i, o in zip(inputs[:-1], features[:-1], strict=True):
            layers += [nn.Conv2d(i, o, kernel_size=3, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        layers += [
            nn.AdaptiveAvgPool2d(grid),
            nn.Conv2d(inputs[-1], features[-1], kernel_size=3, stride=2, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ]
        self.layers = nn.Sequential(*layers)
        initialize_xavier(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU

    def forward(self, image: Tensor) -> Tensor:
        """Code (N, 16) of ``image`` (N, in_channels, H, W).

        Raises:
            ValueError: when ``image`` has another number of dimensions or channels.
        """
        if image.dim() != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"image must have shape (N, {self.in_channels}, H, W), got {list(image.shape)}.")
        return self.layers(image)
