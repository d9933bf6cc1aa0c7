"""How a 3D network infers a case: the whole volume at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from monai.inferers import Inferer
from torch import nn

from ..networks.outputs import WithSynthesis


class VolumeInferer(Inferer):
    """Run a 3D network on the whole volume, with :class:`scripts.networks.WithSynthesis` around the network.

    What :class:`LesionInferer` is for networks of slices. The network itself takes volumes of any size.

    Args:
        amp: run the network under bfloat16 autocast.
        mirror: average the volume with its mirror image, left for right.
    """

    def __init__(self, amp: bool = False, mirror: bool = False):
        self.amp = amp
        self.mirror = mirror

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Map ``inputs`` (N, C, H, W, D) to the logits (N, 2, H, W, D)."""
        return WithSynthesis(cast(nn.Module, network), self.amp, self.mirror)(inputs, *args, **kwargs)
