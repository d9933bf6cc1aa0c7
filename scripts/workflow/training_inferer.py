"""The training's counterpart of the inferer that evaluation has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from monai.inferers import SimpleInferer
from torch import nn

from ..networks.outputs import TrainingOutputs


class TrainingInferer(SimpleInferer):
    """MONAI's ``SimpleInferer`` with :class:`scripts.networks.TrainingOutputs` around the network.

    With the wrapper here and not around the trainer's network, the trainer's network has the names of parameters that
    checkpoints and the evaluator have. MONAI's ``MonaiAlgo`` exchanges the weights of both by these names.

    Args:
        amp: run the network under bfloat16 autocast.
    """

    def __init__(self, amp: bool = False):
        super().__init__()
        self.amp = amp

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Map ``inputs`` (N, C, H, W) to the dict of what the losses need."""
        return super().__call__(inputs, TrainingOutputs(cast(nn.Module, network), self.amp), *args, **kwargs)
