"""Thin wrappers that run a segmentation network in a set precision and shape its outputs for inference or training.

The wrapped network is any module that maps one tensor to one tensor of logits. Further outputs come as a named tuple,
whose fields become the names of the outputs: from the method ``synthesize``, such as the pseudo-DWI of
`StrokeLesionNet`, or from the method ``with_auxiliary``, for outputs that only training needs. A wrapper holds the
network as ``network`` and adds no parameters: save and load the inner network.
"""

import math
from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

#: By the number of dimensions of an image or of a convolution's weight.
_MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class _PrecisionWrapper(nn.Module):
    """Runs ``network`` on channels-last tensors, under bfloat16 autocast when ``amp`` is set."""

    def __init__(self, network: nn.Module, amp: bool = False) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module, got {type(network).__name__}.")
        # Parameters keep their identity, so an optimizer built before or after works. A weight that has its format is
        # not copied: inferers wrap the network anew in every call.
        for parameter in network.parameters():
            if parameter.dim() in _MEMORY_FORMATS:
                parameter.data = parameter.data.contiguous(memory_format=_MEMORY_FORMATS[parameter.dim()])
        self.network = network
        self.amp = amp

    def _run(self, image: Tensor, methods: Sequence[str] = ("synthesize",)) -> dict[str, Tensor]:
        """Float32 outputs, by name, of the first of the methods that the network has; "logits" comes first."""
        if isinstance(image, MetaTensor):  # metadata would be carried through every operation of the network
            image = image.as_tensor()
        image = image.contiguous(memory_format=_MEMORY_FORMATS.get(image.dim(), torch.contiguous_format))
        method = next((name for name in methods if hasattr(self.network, name)), None)
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=self.amp):
            outputs = (
                {"logits": self.network(image)} if method is None else getattr(self.network, method)(image)._asdict()
            )
        return {name: tensor.float() for name, tensor in outputs.items() if tensor is not None}


class TrainingOutputs(_PrecisionWrapper):
    """The outputs of a network that the training losses need, as a dict.

    For distributed training wrap this module, not the network inside it:
    ``DistributedDataParallel(TrainingOutputs(net))``.

    Args:
        network: the network to train.
        amp: run it under bfloat16 autocast; the outputs are float32 either way.
    """

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map ``image`` (N, C, H, W) to "logits" and the further outputs of the network, such as "pseudo_dwi"."""
        return self._run(image, ("synthesize", "with_auxiliary"))


class WithSynthesis(_PrecisionWrapper):
    """A network's logits and pseudo-DWI as the channels of one tensor, which a sliding window can stitch.

    Args:
        network: the network to run.
        amp: run it under bfloat16 autocast; the output is float32 either way.
        mirror: run it on the slice and on its mirror image, left for right, and average: the logits become the
            logarithm of the mean probability. A false positive that depends on the side is rarely predicted twice.
    """

    def __init__(self, network: nn.Module, amp: bool = False, mirror: bool = False) -> None:
        super().__init__(network, amp)
        self.mirror = mirror

    def forward(self, image: Tensor) -> Tensor:
        """Map ``image`` (N, C, H, W), H from right to left, to (N, 3, H, W).

        A network without a pseudo-DWI returns its logits alone.
        """
        outputs = self._run(image)
        if self.mirror:
            mirrored = {name: tensor.flip(2) for name, tensor in self._run(image.flip(2)).items()}
            outputs = {name: (tensor + mirrored[name]) / 2 for name, tensor in outputs.items() if name != "logits"} | {
                "logits": log_mean_probability(outputs["logits"], mirrored["logits"])
            }
        if "pseudo_dwi" not in outputs:
            return outputs["logits"]
        return torch.cat([outputs["logits"], outputs["pseudo_dwi"]], dim=1)


def log_mean_probability(first: Tensor, second: Tensor) -> Tensor:
    """Logits (N, C, H, W) whose softmax is the mean of the softmax of two logits."""
    return torch.logaddexp(first.log_softmax(1), second.log_softmax(1)) - math.log(2)
