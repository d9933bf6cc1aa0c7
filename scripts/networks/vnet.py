"""V-Net of Milletari et al. 2016, the 3D comparison of Abulnaga and Rubin 2018, for cases of few slices."""

from monai.networks.nets.vnet import DownTransition, InputTransition, OutputTransition, UpTransition
from torch import Tensor, nn
from torch.nn import functional as F

from .initialization import initialize_xavier

CONVOLUTIONS_DOWN = (1, 2, 3, 2)
CONVOLUTIONS_UP = (2, 2, 1, 1)


class VNet(nn.Module):
    """MONAI's V-Net with a configurable width, for volumes of any size.

    With the default width and 4 inputs it is MONAI's ``VNet``, built from the same blocks. MONAI's has fixed widths,
    and needs channels that divide 16 and sizes that are multiples of 16. Here a 1 x 1 x 1 convolution stands before the
    network where ``in_channels`` does not divide ``width``. A volume is padded to multiples of 16 by repeating its last
    slice, row and column, because zeros next to 2 to 16 slices would change the statistics of batch normalization; the
    output is cropped. Weights start from Xavier.

    Args:
        in_channels: number of input channels.
        out_channels: number of classes.
        width: channels of the finest level; they double at each of the four coarser ones.
        dropout: part of the channels dropped in training in the two coarsest levels and in the skip connections.

    Raises:
        ValueError: when a number of channels is below 1.

    Example:
        >>> VNet(4, 2, width=2)(torch.rand(1, 4, 32, 32, 5)).shape
        torch.Size([1, 2, 32, 32, 5])
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 16, dropout: float = 0.5) -> None:
        super().__init__()
        if min(in_channels, out_channels, width) < 1:
            raise ValueError(
                "in_channels, out_channels and width must be at least 1, "
                f"got {in_channels}, {out_channels} and {width}."
            )
        self.in_channels = in_channels
        act = ("elu", {"inplace": True})
        fits = width % in_channels == 0
        self.mix = nn.Identity() if fits else nn.Conv3d(in_channels, width, kernel_size=1)
        self.input = InputTransition(3, in_channels if fits else width, width, act)
        widths = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            DownTransition(3, w, convolutions, act, dropout_prob=dropout if level >= 2 else None)
            for level, (w, convolutions) in enumerate(zip(widths[:-1], CONVOLUTIONS_DOWN, strict=True))
        )
        self.decoder = nn.ModuleList(
            UpTransition(3, i, o, convolutions, act, dropout_prob=(dropout if level < 2 else None, dropout))
            for level, (i, o, convolutions) in enumerate(
                zip([widths[4], *widths[:1:-1]], widths[:0:-1], CONVOLUTIONS_UP, strict=True)
            )
        )
        self.output = OutputTransition(3, widths[1], out_channels, act)
        initialize_xavier(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map a volume (N, in_channels, H, W, D) to logits (N, out_channels, H, W, D).

        Raises:
            ValueError: when the number of dimensions or channels is another.
        """
        if x.dim() != 5 or x.shape[1] != self.in_channels:
            raise ValueError(f"The input must have shape (N, {self.in_channels}, H, W, D), got {list(x.shape)}.")
        height, width, depth = x.shape[2], x.shape[3], x.shape[4]
        x = F.pad(x, [0, -depth % 16, 0, -width % 16, 0, -height % 16], mode="replicate")
        x = self.input(self.mix(x))
        skips: list[Tensor] = []
        for block in self.encoder:
            skips.append(x)
            x = block(x)
        for block in self.decoder:
            x = block(x, skips.pop())
        return self.output(x)[:, :, :height, :width, :depth]
