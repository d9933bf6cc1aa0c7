"""FCN-8s of Long et al. 2015, a baseline in Table 3 of Wang 2020."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from .initialization import initialize_xavier
from .padding import pad_to_size

CONVOLUTIONS_PER_STAGE = (2, 2, 3, 3, 3)


class FCN(nn.Module):
    """Fully convolutional network on a VGG16 encoder whose decoder adds the maps of the last three poolings.

    With the default widths, 4 inputs and 2 outputs it has 18.64 M parameters, the paper's count. VGG's fully connected
    layers (134 M) or a decoder of class scores (14.7 M) do not match that count; it is met by the usual variant with
    five transposed 3 x 3 convolutions of stride 2 (512, 256, 128, 64 and 32 channels at the default widths), each with
    ReLU and batch normalization, the maps of poolings 4 and 3 added before the normalization of the first two.

    Any height and width of at least 32 is accepted: where pooling dropped a row or column, the decoder pads with zeros.

    Args:
        in_channels: number of input channels.
        out_channels: number of classes.
        features: channels of the five encoder stages; the first must be even.

    Raises:
        ValueError: when ``features`` does not have five entries.
    """

    def __init__(self, in_channels: int, out_channels: int, features: Sequence[int] = (64, 128, 256, 512, 512)) -> None:
        super().__init__()
        if len(features) != 5:
            raise ValueError(f"features must have five entries, got {tuple(features)}.")
        self.in_channels = in_channels
        self.encoder = nn.ModuleList()
        channels = in_channels
        for width, convolutions in zip(features, CONVOLUTIONS_PER_STAGE, strict=True):
            stage: list[nn.Module] = []
            for _ in range(convolutions):
                stage += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            self.encoder.append(nn.Sequential(*stage, nn.MaxPool2d(2)))
        widths = (features[3], features[2], features[1], features[0], features[0] // 2)
        inputs = (channels, *widths[:-1])
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(i, o, kernel_size=3, stride=2, padding=1, output_padding=1)
            for i, o in zip(inputs, widths, strict=True)
        )
        self.norm = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.output = nn.Conv2d(widths[-1], out_channels, kernel_size=1)
        initialize_xavier(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, out_channels, H, W).

        Raises:
            ValueError: when the number of channels is another, or the height or width is below 32.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"The input must have shape (N, {self.in_channels}, H, W), got {list(x.shape)}.")
        if x.shape[2] < 32 or x.shape[3] < 32:
            raise ValueError(f"The input's height and width must be at least 32, got {list(x.shape)}.")
        height, width = x.shape[2], x.shape[3]
        pooled: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            pooled.append(x)
        for level, (upsample, norm) in enumerate(zip(self.upsample, self.norm)):  # noqa: B905  not scriptable otherwise
            x = F.relu(upsample(x))
            if level < 4:
                x = pad_to_size(x, pooled[3 - level].shape[2], pooled[3 - level].shape[3])
            else:
                x = pad_to_size(x, height, width)
            if level < 2:
                x = x + pooled[3 - level]
            x = norm(x)
        return self.output(x)
