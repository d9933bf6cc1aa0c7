"""SLNet, the stroke lesion segmentation network of Wang 2020, section 3.3."""

from collections.abc import Sequence

from .unet import Normalization, UNet


class SLNet(UNet):
    """UNet with switchable normalization and a squeeze-and-excitation block after each encoder block (Fig. 5).

    With ``features`` (64, 128, 256, 512, 1024), 4 inputs and 2 outputs it has 33.84 M parameters; without
    ``squeeze_excitation`` 31.04 M, and with ``norm="batch"`` ("without SN" in Table 3) 33.84 M. The five encoder
    blocks, the coarsest included, are calibrated with reduction 1; other choices are those of `UNet`.

    Args:
        in_channels: number of input channels; 1 for a pseudo-DWI.
        out_channels: number of classes.
        features: channels of the encoder blocks from fine to coarse.
        norm: normalization in MONAI's notation.
        squeeze_excitation: calibrate the channels after each encoder block.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        features: Sequence[int] = (16, 32, 64, 128, 256),
        norm: Normalization = "switchable",
        squeeze_excitation: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, features, norm, squeeze_excitation)
