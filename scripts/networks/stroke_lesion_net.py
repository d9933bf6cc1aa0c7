"""The end-to-end network of Wang 2020: feature extractor, pseudo-DWI generator and lesion segmentor (Fig. 2)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .slnet import SLNet
from .unet import Normalisation, UNet


class StrokeLesionOutput(NamedTuple):
    """What :meth:`StrokeLesionNet.synthesise` returns.

    Attributes:
        logits: segmentation logits (N, 2, H, W), background first.
        pseudo_dwi: synthesised DWI I_g (N, 1, H, W), on the scale of the DWI it was trained with, (0, 1).
        high_level_feature: the extractor's output F_h (N, 1, H, W), supervised like the pseudo-DWI.
    """

    logits: Tensor
    pseudo_dwi: Tensor
    high_level_feature: Tensor


class StrokeLesionNet(nn.Module):
    """Lesion segmentation of CT-perfusion slices through a synthesised DWI (Eq. 4, 5 and 10).

    The input's channels are, in this order, ``frames`` frames of the perfusion stage, the ``maps`` perfusion maps
    CBF, CBV, MTT and Tmax, and the temporal maximum intensity projection F_l. The extractor sees the frames and gives
    F_h; the generator sees the maps, F_l and F_h and gives the pseudo-DWI; the segmentor sees the pseudo-DWI alone.

    F_h and the pseudo-DWI are linear outputs, which the paper leaves open: the target ends at 0 and 1, where the
    background and the lesions are, and a sigmoid would have vanishing gradients just there.

    Args:
        features: channels of the encoder blocks of all three networks from fine to coarse.
        frames: number of frames C_e.
        maps: number of perfusion maps.
        norm: normalisation of the extractor and the generator in MONAI's notation.
        segmentor_norm: normalisation of the segmentor.
        squeeze_excitation: calibrate the segmentor's channels.

    Example:
        >>> StrokeLesionNet(features=(4, 8))(torch.rand(1, 11, 32, 32)).shape
        torch.Size([1, 2, 32, 32])
    """

    def __init__(
        self,
        features: Sequence[int] = (16, 32, 64, 128, 256),
        frames: int = 6,
        maps: int = 4,
        norm: Normalisation = "batch",
        segmentor_norm: Normalisation = "switchable",
        squeeze_excitation: bool = True,
    ) -> None:
        super().__init__()
        if frames < 1 or maps < 0:
            raise ValueError(f"frames must be at least 1 and maps at least 0, got {frames} and {maps}.")
        self.frames = frames
        self.maps = maps
        self.extractor = UNet(frames, 1, features, norm)
        self.generator = UNet(maps + 2, 1, features, norm)
        self.segmentor = SLNet(1, 2, features, segmentor_norm, squeeze_excitation)

    def forward(self, image: Tensor) -> Tensor:
        """Segmentation logits (N, 2, H, W) of ``image`` (N, frames + maps + 1, H, W).

        Raises:
            ValueError: when ``image`` has another number of dimensions or channels, or is too small to be pooled.
        """
        return self.synthesise(image).logits

    @torch.jit.export
    def synthesise(self, image: Tensor) -> StrokeLesionOutput:
        """Logits, pseudo-DWI and high-level feature of ``image`` (N, frames + maps + 1, H, W).

        Raises:
            ValueError: when ``image`` has another number of dimensions or channels, or is too small to be pooled.
        """
        expected = self.frames + self.maps + 1
        if image.dim() != 4 or image.shape[1] != expected:
            raise ValueError(
                f"image must have shape (N, {expected}, H, W) with {self.frames} frames, {self.maps} perfusion maps "
                f"and the temporal MIP as channels, got {list(image.shape)}."
            )
        high_level_feature = self.extractor(image[:, : self.frames])
        pseudo_dwi = self.generator(torch.cat([image[:, self.frames :], high_level_feature.to(image.dtype)], dim=1))
        return StrokeLesionOutput(self.segmentor(pseudo_dwi), pseudo_dwi, high_level_feature)
