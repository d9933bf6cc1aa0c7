"""PSPNet of Zhao et al. 2017, with which Abulnaga and Rubin 2018 segment stroke lesions."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import DilatedResNet, load_backbone
from .initialization import initialize_xavier
from .padding import pad_to_size


class PSPNetOutput(NamedTuple):
    """What `PSPNet.with_auxiliary` returns.

    Attributes:
        logits: segmentation logits (N, out_channels, H, W).
        auxiliary_logits: the logits of the auxiliary branch, of the same shape.
    """

    logits: Tensor
    auxiliary_logits: Tensor


def _convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _classifier(in_channels: int, width: int, out_channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *_convolution(in_channels, width, kernel_size=3),
        nn.Dropout2d(dropout),
        nn.Conv2d(width, out_channels, kernel_size=1),
    )


class PyramidLevel(nn.Module):
    """The average of ``bins`` x ``bins`` regions, condensed by a 1 x 1 convolution, at the size of the input."""

    def __init__(self, in_channels: int, out_channels: int, bins: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(bins)
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        size = (x.shape[2], x.shape[3])
        y = self.convolution(self.pool(x))
        if self.training and y.shape[0] * y.shape[2] * y.shape[3] == 1:
            # The last batch of an epoch may hold one slice, and one value has no variance.
            norm = self.norm
            y = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
        else:
            y = self.norm(y)
        return F.interpolate(F.relu(y), size, mode="bilinear", align_corners=True)


class PyramidPooling(nn.Module):
    """The input and its pyramid levels, each of a width that makes the output about twice as wide as the input."""

    def __init__(self, in_channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        width = max(in_channels // len(bins), 1)
        self.levels = nn.ModuleList(PyramidLevel(in_channels, width, size) for size in bins)
        self.out_channels = in_channels + width * len(bins)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        maps = [x]
        for level in self.levels:
            maps.append(level(x))
        return torch.cat(maps, dim=1)


class PSPNet(nn.Module):
    """Pyramid scene parsing network: a dilated ResNet, pyramid pooling, and an auxiliary branch for the training.

    The auxiliary branch classifies the backbone's third stage; Zhao et al. add its loss with the weight 0.4.
    ``forward`` leaves it out, `with_auxiliary` gives both. The default is a ResNet-50 with Zhao's widths; weights
    start from Xavier, those of the backbone from a file where one is given.

    Zhao et al. crop images to 8 n + 1 pixels, where the corners of every feature map lie on the corners of the image;
    here the input is padded with zeros at the lower right to the next such size and the output is cropped, so that any
    height and width of at least 8 is accepted and no feature map is shifted against the image.

    Args:
        in_channels: number of input channels.
        out_channels: number of classes.
        features: widths of the backbone's four stages; the last two are also those of the auxiliary branch and of the
            classifier.
        layers: blocks in each stage of the backbone; (3, 4, 23, 3) makes a ResNet-101.
        block: "bottleneck" or, for a ResNet-18 or -34, "basic".
        bins: sides of the pyramid's grids.
        dropout: part of the channels dropped before the last convolutions in training.
        backbone_path: a local file with the weights of a ResNet of these widths and layers, with torchvision's or
            MONAI's names and any number of input channels; see `scripts.networks.backbone.load_backbone`.

    Raises:
        FileNotFoundError: when there is no file at ``backbone_path``.
        ValueError: when ``features`` or ``layers`` do not have four entries, or the file does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: Sequence[int] = (64, 128, 256, 512),
        layers: Sequence[int] = (3, 4, 6, 3),
        block: str = "bottleneck",
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        backbone_path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.backbone = DilatedResNet(in_channels, features, layers, block)
        expansion = self.backbone.in_planes // features[3]
        self.pyramid = PyramidPooling(expansion * features[3], bins)
        self.classifier = _classifier(self.pyramid.out_channels, features[3], out_channels, dropout)
        self.auxiliary = _classifier(expansion * features[2], features[2], out_channels, dropout)
        initialize_xavier(self)
        if backbone_path is not None:
            load_backbone(self.backbone, backbone_path)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, out_channels, H, W).

        Raises:
            ValueError: when the number of channels is another, or the height or width is below 8.
        """
        _, features = self._encode(image)
        return _at_full_size(self.classifier(self.pyramid(features)), image.shape[2], image.shape[3])

    @torch.jit.export
    def with_auxiliary(self, image: Tensor) -> PSPNetOutput:
        """The logits of (N, in_channels, H, W) and those of the auxiliary branch, for the training.

        Raises:
            ValueError: when the number of channels is another, or the height or width is below 8.
        """
        height, width = image.shape[2], image.shape[3]
        third, features = self._encode(image)
        return PSPNetOutput(
            _at_full_size(self.classifier(self.pyramid(features)), height, width),
            _at_full_size(self.auxiliary(third), height, width),
        )

    def _encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps of the padded image; the first and last row and column lie on those of the padded image."""
        if image.dim() != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"The input must have shape (N, {self.in_channels}, H, W), got {list(image.shape)}.")
        if image.shape[2] < 8 or image.shape[3] < 8:
            raise ValueError(f"The input's height and width must be at least 8, got {list(image.shape)}.")
        return self.backbone(pad_to_size(image, _aligned(image.shape[2]), _aligned(image.shape[3])))


def _aligned(size: int) -> int:
    """The next size of the form 8 n + 1."""
    return (size + 6) // 8 * 8 + 1


def _at_full_size(logits: Tensor, height: int, width: int) -> Tensor:
    """Interpolate (N, C, h, w) to the padded image and crop it to (N, C, height, width)."""
    size = (_aligned(height), _aligned(width))
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)[:, :, :height, :width]
