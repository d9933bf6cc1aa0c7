"""The end-to-end network of Wang 2020: feature extractor, pseudo-DWI generator and lesion segmentor (Fig. 2)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .slnet import SLNet
from .unet import Normalization, UNet


class StrokeLesionOutput(NamedTuple):
    """What `StrokeLesionNet.synthesize` returns.

    Attributes:
        logits: segmentation logits (N, 2, H, W), background first.
        pseudo_dwi: synthesized DWI I_g (N, 1, H, W), on the scale of the DWI it was trained with, (0, 1).
        high_level_feature: the extractor's output F_h (N, 1, H, W), supervised like the pseudo-DWI; None where the
            network has no extractor.
    """

    logits: Tensor
    pseudo_dwi: Tensor
    high_level_feature: Tensor | None


class StrokeLesionNet(nn.Module):
    """Lesion segmentation of CT-perfusion slices through a synthesized DWI (Eq. 4, 5 and 10).

    The input's channels are, in this order, ``frames`` frames of the perfusion stage, the ``maps`` perfusion maps
    CBF, CBV, MTT and Tmax, and the temporal maximum intensity projection F_l. The extractor sees the frames and gives
    F_h; the generator sees the maps, F_l and F_h and gives the pseudo-DWI; the segmentor sees the pseudo-DWI alone.
    With fewer inputs it is one of the variants of Tables 1, 2 and 5.

    F_h and the pseudo-DWI are linear outputs; the paper does not specify this. Background and lesions have targets near
    0 and 1, where a sigmoid would have vanishing gradients.

    Args:
        features: channels of the encoder blocks of all three networks from fine to coarse.
        frames: number of frames C_e; 0 for a network without extractor, and so without F_h.
        maps: number of perfusion maps.
        temporal_mip: whether F_l is among the channels.
        norm: normalization of the extractor and the generator in MONAI's notation.
        segmentor_norm: normalization of the segmentor.
        squeeze_excitation: calibrate the segmentor's channels. Without it and with batch normalization the segmentor is
            the UNet of Tables 1 and 2.
        segment_maps: give the segmentor the perfusion maps in addition to the pseudo-DWI (F_o + DWI of Table 5).
        detached: outputs, "high_level_feature" or "pseudo_dwi", through which no gradient flows back to the network
            that computes them, as in sequential training (Tables 1 and 2, and DWI(s) of Table 5).
        dropout: fraction of the channels that is dropped after each pooling in training mode, in [0, 1). MONAI Label
            sets it to score how uncertain a case is (Gal and Ghahramani 2016); names of weights stay the same.

    Raises:
        ValueError: when there is no input, ``detached`` has another name, or ``dropout`` is out of range.

    Example:
        >>> StrokeLesionNet(features=(4, 8))(torch.rand(1, 11, 32, 32)).shape
        torch.Size([1, 2, 32, 32])
    """

    def __init__(
        self,
        features: Sequence[int] = (16, 32, 64, 128, 256),
        frames: int = 6,
        maps: int = 4,
        temporal_mip: bool = True,
        norm: Normalization = "batch",
        segmentor_norm: Normalization = "switchable",
        squeeze_excitation: bool = True,
        segment_maps: bool = False,
        detached: Sequence[str] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.maps = maps
        self.channels = frames + maps + int(temporal_mip)
        if min(frames, maps) < 0 or self.channels == 0:
            raise ValueError(f"frames and maps must not be negative nor all inputs absent, got {frames} and {maps}.")
        if not set(detached) <= {"high_level_feature", "pseudo_dwi"}:
            raise ValueError(f"detached must name high_level_feature or pseudo_dwi, got {tuple(detached)}.")
        self.segment_maps = segment_maps
        self.feature_detached = "high_level_feature" in detached
        self.pseudo_dwi_detached = "pseudo_dwi" in detached
        self.extractor = UNet(frames, 1, features, norm) if frames else None
        self.generator = UNet(self.channels - frames + int(frames > 0), 1, features, norm)
        segmentor_channels = 1 + maps if segment_maps else 1
        self.segmentor = SLNet(segmentor_channels, 2, features, segmentor_norm, squeeze_excitation)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}.")
        if dropout > 0:
            for part in (self.extractor, self.generator, self.segmentor):
                if part is not None:
                    part.pool = nn.Sequential(part.pool, nn.Dropout2d(dropout))

    def forward(self, image: Tensor) -> Tensor:
        """Segmentation logits (N, 2, H, W) of ``image`` (N, channels, H, W).

        Raises:
            ValueError: when ``image`` has another number of dimensions or channels, or is too small to be pooled.
        """
        return self.synthesize(image).logits

    @torch.jit.export
    def synthesize(self, image: Tensor) -> StrokeLesionOutput:
        """Logits, pseudo-DWI and high-level feature of ``image`` (N, channels, H, W).

        Raises:
            ValueError: when ``image`` has another number of dimensions or channels, or is too small to be pooled.
        """
        if image.dim() != 4 or image.shape[1] != self.channels:
            raise ValueError(
                f"image must have shape (N, {self.channels}, H, W) with {self.frames} frames, {self.maps} perfusion "
                f"maps and {self.channels - self.frames - self.maps} temporal MIP as channels, got {list(image.shape)}."
            )
        condensed = image[:, self.frames :]
        high_level_feature: Tensor | None = None
        if self.extractor is not None:
            high_level_feature = self.extractor(image[:, : self.frames])
            seen = high_level_feature.detach() if self.feature_detached else high_level_feature
            condensed = torch.cat([condensed, seen.to(image.dtype)], dim=1)
        pseudo_dwi = self.generator(condensed)
        seen = pseudo_dwi.detach() if self.pseudo_dwi_detached else pseudo_dwi
        if self.segment_maps:
            seen = torch.cat([image[:, self.frames : self.frames + self.maps], seen.to(image.dtype)], dim=1)
        return StrokeLesionOutput(self.segmentor(seen), pseudo_dwi, high_level_feature)
