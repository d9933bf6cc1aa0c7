"""How a network is run on a batch: the slices of a training, a case slice by slice, or a volume at once.

The precision and the mirror image belong to the inferer and not to the network, so that every program that takes
network and inferer from a config, as MONAI Label and MonaiAlgo do, runs and exchanges the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from monai.inferers import Inferer, SimpleInferer, SliceInferer
from monai.utils import convert_to_dst_type
from torch import nn

from ..networks.inference_form import inference_form
from ..networks.outputs import TrainingOutputs, WithSynthesis


def _for_inference(network: Callable[..., Any], amp: bool, mirror: bool) -> WithSynthesis:
    """The network as it is to be run on a case: where nothing is learned, in the form that takes less time.

    The form is made anew for each case, and so of the weights as they are, whoever changed them and how. That takes two
    or three percent of the time of the case.
    """
    wrapped = WithSynthesis(cast(nn.Module, network), amp, mirror)
    if not (wrapped.network.training or torch.is_grad_enabled()):
        wrapped.network = inference_form(wrapped.network, torch.bfloat16 if amp else torch.float32)
    return wrapped


class LesionInferer(SliceInferer):
    """MONAI's ``SliceInferer`` on axial slices, with :class:`scripts.networks.WithSynthesis` around the network.

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
        return super().__call__(inputs, _for_inference(network, self.amp, self.mirror), *args, **kwargs)


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
        """Map ``inputs`` (N, C, H, W, D) to the logits (N, 2, H, W, D), with the metadata of the inputs."""
        logits = _for_inference(network, self.amp, self.mirror)(inputs, *args, **kwargs)
        # As the sliding window does: without them `Invertd` has nothing to invert, and the mask stays in the grid and
        # the orientation of the network.
        return convert_to_dst_type(logits, inputs, dtype=logits.dtype)[0]
