"""Adversarial training of the pseudo-DWI: the rows GAN and L2 + GAN of Table 1 in Wang 2020."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import AdversarialTrainer, IterationEvents
from monai.inferers import Inferer
from monai.networks.nets import MultiScalePatchDiscriminator
from monai.utils import AdversarialIterationEvents, AdversarialKeys, CommonKeys
from torch import Tensor, nn

from ..losses import DiscriminatorLoss, GeneratorLoss
from .loss_terms import LossTerms

#: What an adversarial engine's state has beside that of a supervised one.
DISCRIMINATOR_STATE = ("d_network", "d_optimizer")

SUPERVISED = {
    "network": "g_network",
    "optimizer": "g_optimizer",
    "inferer": "g_inferer",
    "loss_function": "recon_loss_function",
}
"""Arguments of MONAI's ``SupervisedTrainer`` and their names in its ``AdversarialTrainer``."""


def pseudo_dwi_discriminator(conditions: int, channels: int = 16, image_size: int = 256) -> nn.Module:
    """Return the multi-scale discriminator of a DWI: one scale for local detail and one for the whole slice.

    It is MONAI's, with the instance normalization of pix2pixHD (Wang T.-C. et al. 2018), which Wang 2020 refers to:
    what it says of an image does not depend on the others in the batch. At 256 pixels a logit of the first scale sees
    46 pixels, one of the second the whole slice. Smaller slices get fewer layers, as many as there are pixels for.

    Args:
        conditions: number of the channels that it sees beside the DWI; 0 for an unconditional discriminator.
        channels: channels of the first convolution; each layer has twice those of the one before.
        image_size: side of the slices in pixels.

    Raises:
        ValueError: when the slices are too small, or another argument is out of range.
    """
    if conditions < 0 or channels < 1 or image_size < 16:
        raise ValueError(
            "expected conditions of at least 0, channels of at least 1 and image_size of at least 16, "
            f"got {conditions}, {channels} and {image_size}."
        )
    # The second scale has twice the layers, so 4^layers is what it divides the side by. Four pixels have to be left:
    # the last convolution takes one away, and the normalization of a single one is undefined.
    layers = 1
    while layers < 3 and image_size // 4 ** (layers + 1) >= 4:
        layers += 1
    return MultiScalePatchDiscriminator(
        num_d=2,
        num_layers_d=layers,
        spatial_dims=2,
        channels=channels,
        in_channels=1 + conditions,
        norm="INSTANCE",
        minimum_size_im=image_size,
    )


class JudgeInferer(Inferer):
    """Give the logits of a multi-scale discriminator, without its features; for an empty batch, none."""

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Tensor]:
        """Return one tensor (N, 1, h, w) a scale for ``inputs`` (N, C, H, W), and an empty list where N is 0."""
        return network(inputs)[0] if len(inputs) else []


class PseudoDwiAdversarialTrainer(AdversarialTrainer):
    """MONAI's adversarial engine for a network that gives a pseudo-DWI among other outputs.

    The generator is the whole network: its outputs are a dict, for which ``recon_loss_function`` has the losses of the
    supervised training, and of which the discriminator judges "pseudo_dwi" against the real DWI. The discriminator is
    conditional, as that of pix2pixHD: it sees the network's input beside the DWI. Without, nothing would tie the
    pseudo-DWI of the row GAN to the patient. Wang 2020 does not say which it was.

    Items without a DWI are not judged, and none is while the networks that make the pseudo-DWI are frozen: a batch with
    nothing to judge trains with ``recon_loss_function`` alone and leaves the discriminator as it is.

    Args:
        conditional: whether the discriminator sees the network's input.
        **kwargs: the arguments of MONAI's ``AdversarialTrainer``, of which the generator's may also have the names that
            they have in ``SupervisedTrainer``, so that a config of that becomes one of this by a few keys. The losses
            are by default those of a least-squares GAN.
    """

    def __init__(self, conditional: bool = True, **kwargs: Any):
        self.conditional = conditional
        # A gradient of None, unlike one of 0, keeps an optimiser from moving a parameter by its momentum or decay.
        defaults = {"d_inferer": JudgeInferer(), "optim_set_to_none": True}
        losses = {"g_loss_function": GeneratorLoss(), "d_loss_function": DiscriminatorLoss()}
        super().__init__(**{**defaults, **losses, **{SUPERVISED.get(name, name): kwargs[name] for name in kwargs}})
        # MONAI's step has one entry, FAKES, for what is judged and for what the reconstruction loss is of: it holds all
        # outputs while that loss is computed, and the images otherwise.
        events = AdversarialIterationEvents
        self.add_event_handler(events.GENERATOR_FORWARD_COMPLETED, self._show_images)
        self.add_event_handler(events.GENERATOR_DISCRIMINATOR_FORWARD_COMPLETED, self._show_outputs)
        self.add_event_handler(events.RECONSTRUCTION_LOSS_COMPLETED, self._show_images)

    def _complete_state_dict_user_keys(self) -> None:
        """Leave out what MONAI adds to the engine's state: the networks and optimisers themselves, not their states."""

    def state_dict(self) -> OrderedDict[str, Any]:
        """Return the engine's state with those of the discriminator and its optimiser.

        They belong to this engine alone, so that a checkpoint of the engine has all that a training needs to go on.
        """
        own = {name: getattr(self.state, name).state_dict() for name in DISCRIMINATOR_STATE}
        return OrderedDict({**super().state_dict(), **own})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the engine, the discriminator and its optimiser.

        Raises:
            ValueError: the state is not that of an adversarial training.
        """
        missing = [name for name in DISCRIMINATOR_STATE if name not in state_dict]
        if missing:
            raise ValueError(f"state of an adversarial training: expected {missing}, got {sorted(state_dict)}.")
        super().load_state_dict(state_dict)
        for name in DISCRIMINATOR_STATE:
            getattr(self.state, name).load_state_dict(state_dict[name])

    def _show_images(self, engine: Engine) -> None:
        output: dict[str, Any] = engine.state.output  # type: ignore[assignment]  # Ignite types it as an int
        output[AdversarialKeys.FAKES], output[AdversarialKeys.REALS] = judged_images(
            output[CommonKeys.PRED], output[CommonKeys.LABEL], output[CommonKeys.IMAGE] if self.conditional else None
        )

    def _show_outputs(self, engine: Engine) -> None:
        output: dict[str, Any] = engine.state.output  # type: ignore[assignment]
        output[AdversarialKeys.FAKES] = output[CommonKeys.PRED]

    def _iteration(self, engine: AdversarialTrainer, batchdata: dict[str, Tensor]) -> dict[str, Any]:
        output: dict[str, Any] = super()._iteration(engine, batchdata)
        keys = AdversarialKeys
        output[CommonKeys.LOSS] = output[keys.RECONSTRUCTION_LOSS] + output[keys.GENERATOR_LOSS]
        # What was judged has neither the items of the batch nor, at its scales, one shape: it cannot be decollated.
        judged = (keys.FAKES, keys.REALS, keys.FAKE_LOGITS, keys.REAL_LOGITS)
        engine.state.output = {key: value for key, value in output.items() if key not in judged}
        engine.fire_event(IterationEvents.MODEL_COMPLETED)  # as MONAI's other trainers do, and this one does not
        return engine.state.output


def judged_images(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], condition: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the synthesized and the real images that a discriminator has to tell apart.

    Args:
        outputs: "pseudo_dwi" (N, 1, H, W), of a network that is trained; one without gradient is not judged.
        targets: optionally "dwi" (N, 1, H, W) and "has_dwi" (N,), which items' DWI is real, all by default.
        condition: image (N, C, H, W) that stands before the DWI in both.

    Returns:
        Two tensors (M, C + 1, H, W) of the M items that have a DWI.

    Raises:
        ValueError: the network gives no pseudo-DWI.
    """
    if "pseudo_dwi" not in outputs:
        raise ValueError(f"outputs must have the entry 'pseudo_dwi' to be judged, got {sorted(outputs)}.")
    fake = outputs["pseudo_dwi"]
    if "dwi" not in targets or not fake.requires_grad:
        chosen = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    elif "has_dwi" in targets:
        chosen = targets["has_dwi"].reshape(-1).to(device=fake.device, dtype=torch.bool)
    else:
        chosen = torch.ones(len(fake), dtype=torch.bool, device=fake.device)
    images = (fake, targets.get("dwi", fake))
    fakes, reals = (image if condition is None else torch.cat([condition, image], 1) for image in images)
    return fakes[chosen], reals[chosen]


class AdversarialTerms(LossTerms):
    """Output transform of logging handlers: beside what :class:`LossTerms` gives, the two adversarial losses.

    "loss" is that of the generator with its adversarial term, "adversarial"; "discriminator" is that of the other side.
    """

    def __call__(self, output: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return name -> value; ``output`` is the decollated output of a :class:`PseudoDwiAdversarialTrainer`."""
        return {
            **super().__call__(output),
            "adversarial": float(output[0][AdversarialKeys.GENERATOR_LOSS]),
            "discriminator": float(output[0][AdversarialKeys.DISCRIMINATOR_LOSS]),
        }
