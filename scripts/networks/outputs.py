"""Thin wrappers that run a segmentation network in a set precision and shape its outputs for inference or training.

The wrapped network may be any module with one tensor in and one tensor of logits out; what :class:`StrokeLesionNet`
gives besides comes through its method ``synthesise``. A wrapper holds the network as ``network`` and adds no
parameters: it is the inner network that is saved and loaded.
"""

import math

import torch
from monai.data import MetaTensor
from torch import Tensor, nn


class _PrecisionWrapper(nn.Module):
    """Runs ``network`` on channels-last tensors, under bfloat16 autocast when ``amp`` is set."""

    def __init__(self, network: nn.Module, amp: bool = False) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module, got {type(network).__name__}.")
        # Parameters keep their identity, so an optimiser built before or after works.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.amp = amp

    def _run(self, image: Tensor) -> dict[str, Tensor]:
        """Float32 outputs of the network by name; "logits" is the first."""
        if isinstance(image, MetaTensor):  # metadata would be carried through every operation of the network
            image = image.as_tensor()
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=self.amp):
            if hasattr(self.network, "synthesise"):
                outputs = self.network.synthesise(image)._asdict()
            else:
                outputs = {"logits": self.network(image)}
        return {name: tensor.float() for name, tensor in outputs.items()}


class TrainingOutputs(_PrecisionWrapper):
    """What the training losses need of a network, as a dict.

    For distributed training wrap this module, not the network inside it:
    ``DistributedDataParallel(TrainingOutputs(net))``.

    Args:
        network: the network to train.
        amp: run it under bfloat16 autocast; the outputs are float32 either way.
    """

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map ``image`` (N, C, H, W) to "logits" and, if the network has them, "pseudo_dwi", "high_level_feature"."""
        return self._run(image)


class WithSynthesis(_PrecisionWrapper):
    """A network's logits and pseudo-DWI as the channels of one tensor, which a sliding window can stitch.

    Args:
        network: the network to run.
        amp: run it under bfloat16 autocast; the output is float32 either way.
        mirror: run it on the slice and on its mirror image, left for right, and average: the logits become the
            logarithm of the mean probability. What the network takes for a lesion on one side only by chance is
            rarely found twice.
    """

    def __init__(self, network: nn.Module, amp: bool = False, mirror: bool = False) -> None:
        super().__init__(network, amp)
        self.mirror = mirror

    def forward(self, image: Tensor) -> Tensor:
        """Map ``image`` (N, C, H, W), H from right to left, to (N, 3, H, W).

        A network without a pseudo-DWI gives its logits alone.
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
