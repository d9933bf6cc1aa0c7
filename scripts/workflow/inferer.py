"""How a case is inferred: slice by slice, with the mirror image of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from monai.inferers import SliceInferer
from torch import nn

from ..networks.outputs import WithSynthesis


class LesionInferer(SliceInferer):
    """MONAI's ``SliceInferer`` on axial slices, with :class:`scripts.networks.WithSynthesis` around the network.

    The wrapper belongs to the inferer, so that every program that takes network and inferer from the config, as MONAI
    Label does, infers the same.

    Args:
        roi_size: (H, W), the size in pixels of the slices that the network sees.
        amp: run the network under bfloat16 autocast.
        mirror: average each slice with its mirror image, left for right.
        sw_batch_size: slices a call.
    """

    def __init__(self, roi_size: Sequence[int], amp: bool = False, mirror: bool = False, sw_batch_size: int = 4):
        super().__init__(roi_size=roi_size, spatial_dim=2, sw_batch_size=sw_batch_size, padding_mode="constant")
        self.amp = amp
        self.mirror = mirror

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Map ``inputs`` (1, C, H, W, D) to (1, 2 or 3, H, W, D): logits and, where there is one, the pseudo-DWI."""
        return super().__call__(inputs, WithSynthesis(cast(nn.Module, network), self.amp, self.mirror), *args, **kwargs)
