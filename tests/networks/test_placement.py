"""Networks, normalization, losses and inferers create every tensor on the device of their inputs.

Tensors of the `meta` device have no values: an operation that mixes them with one of the CPU raises. What runs on them
runs on a GPU without a tensor that was left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import monai.inferers.utils
import pytest
import torch
from torch import Tensor, nn

from scripts import networks
from scripts.losses import (
    ContextualLoss,
    CrossEntropyLoss,
    HardnessAwareGeneralizedDiceLoss,
    SegmentationLoss,
    SlicewiseLoss,
    StrokeLesionLoss,
    SynthesisLoss,
    WeightedCrossEntropyLoss,
    WeightedL2Loss,
)
from scripts.networks.backbone import DilatedResNet
from scripts.networks.inference_form import inference_form
from scripts.networks.synchronized_norm import with_synchronized_norms
from scripts.workflow import LesionInferer, TrainingInferer, VolumeInferer, pseudo_dwi_discriminator

META = torch.device("meta")

SLICES: dict[str, Callable[[], nn.Module]] = {
    "FCN": lambda: networks.FCN(3, 2, (4, 4, 4, 4, 4)),
    "PSPNet": lambda: networks.PSPNet(3, 2, (4, 4, 4, 4), (1, 1, 1, 1)),
    "R2UNet": lambda: networks.R2UNet(3, 2, (4, 8)),
    "ResUNet": lambda: networks.ResUNet(3, 2, (4, 8)),
    "SLNet": lambda: networks.SLNet(3, 2, (4, 8)),
    "UNet": lambda: networks.UNet(3, 2, (4, 8)),
    "UNet, switchable": lambda: networks.UNet(3, 2, (4, 8), norm="switchable", squeeze_excitation=True),
    "StrokeLesionNet": lambda: networks.StrokeLesionNet((4, 8), frames=0, maps=2),
    "StrokeLesionNet, all inputs": lambda: networks.StrokeLesionNet((4, 8), 1, 1, True, segment_maps=True),
    "DilatedResNet": lambda: DilatedResNet(3, (4, 4, 4, 4), (1, 1, 1, 1)),
    "ContextEncoder": lambda: networks.ContextEncoder(3, (2, 2, 2, 2, 2)),
    "SwitchableNorm2d": lambda: networks.SwitchableNorm2d(3),
    "synchronized": lambda: with_synchronized_norms(networks.UNet(3, 2, (4, 8), norm="switchable")),
    "WithSynthesis": lambda: networks.WithSynthesis(networks.UNet(3, 2, (4, 8)), mirror=True),
}
WRAPPED = [
    name for name in SLICES if name not in ("DilatedResNet", "ContextEncoder", "SwitchableNorm2d", "WithSynthesis")
]


@pytest.fixture(autouse=True)
def without_autocast(monkeypatch):
    """There is no autocast for `meta`, and MONAI's sliding window looks at the least of its weights."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
    monkeypatch.setattr(
        monai.inferers.utils, "compute_importance_map", lambda size, device, **_: torch.ones(*size, device=device)
    )


def tensors(found: Any) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    parts = found.values() if isinstance(found, dict) else found
    return [tensor for part in parts if part is not None for tensor in tensors(part)]


def on_meta(found: Any) -> bool:
    return bool(tensors(found)) and all(tensor.device == META for tensor in tensors(found))


def test_every_network_of_the_package_is_here():
    built = " ".join(type(module).__name__ for make in SLICES.values() for module in make().modules())
    wrappers = {"TrainingOutputs", "VNet"}  # below
    named = {name for name in networks.__all__ if isinstance(getattr(networks, name), type)}
    assert {name for name in named if issubclass(getattr(networks, name), nn.Module)} - wrappers <= set(built.split())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SLICES)
def test_networks_of_slices(name, training):
    network, image = SLICES[name]().to(META).train(training), torch.rand(2, 3, 64, 64, device=META)
    found = network(image)
    assert on_meta(found)
    sum(tensor.sum() for tensor in tensors(found)).backward()
    assert all(parameter.grad is None or parameter.grad.device == META for parameter in network.parameters())
    assert all(buffer.device == META for buffer in network.buffers())


@pytest.mark.parametrize("name", [name for name in SLICES if name != "ContextEncoder"])  # convolutions alone: they mix
def test_an_image_left_on_the_cpu_raises(name):
    with pytest.raises((RuntimeError, NotImplementedError)):
        SLICES[name]().to(META)(torch.rand(2, 3, 64, 64))


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("name", WRAPPED)
def test_inferers(name, amp):
    network, case = SLICES[name]().to(META).eval(), torch.rand(1, 3, 64, 64, 2, device=META)
    with torch.no_grad():
        found = LesionInferer((64, 64), amp=False, mirror=True, sw_batch_size=1)(case, network)
        assert on_meta(found)
        assert on_meta(inference_form(network, torch.bfloat16 if amp else torch.float32).state_dict())
    assert on_meta(TrainingInferer(amp)(case[..., 0], network.train()))


def test_volumes():
    network = networks.VNet(3, 2, width=2).to(META).eval()
    with torch.no_grad():
        assert on_meta(VolumeInferer(mirror=True)(torch.rand(1, 3, 32, 32, 16, device=META), network))


def test_the_discriminator():
    assert on_meta(pseudo_dwi_discriminator(0, 4, 64).to(META)(torch.rand(2, 1, 64, 64, device=META)))


LOGITS, IMAGE = (2, 2, 32, 32), (2, 1, 32, 32)
# Not those of an adversary: MONAI's PatchAdversarialLoss asks a tensor for its type's name, which `meta` has not.
LOSSES: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
    "ContextualLoss": (ContextualLoss(networks.ContextEncoder()), (IMAGE, IMAGE)),
    "CrossEntropyLoss": (CrossEntropyLoss(), (LOGITS, IMAGE)),
    "HardnessAwareGeneralizedDiceLoss": (HardnessAwareGeneralizedDiceLoss(), (LOGITS, IMAGE)),
    "SegmentationLoss": (SegmentationLoss(), (LOGITS, IMAGE, IMAGE)),
    "SynthesisLoss": (SynthesisLoss(networks.ContextEncoder()), (IMAGE, IMAGE, IMAGE)),
    "WeightedCrossEntropyLoss": (WeightedCrossEntropyLoss(), (LOGITS, IMAGE, IMAGE)),
    "WeightedL2Loss": (WeightedL2Loss(), (IMAGE, IMAGE, IMAGE)),
}


def given(shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.zeros(shape, device=device, requires_grad=True)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss, shapes = LOSSES[name]
    loss = loss.to(META)
    arguments = [given(shape, META) for shape in shapes]
    value = loss(*arguments)
    assert value.device == META
    value.backward()
    for index in range(len(shapes)):
        left = [given(shape, torch.device("cpu" if i == index else "meta")) for i, shape in enumerate(shapes)]
        with pytest.raises((RuntimeError, NotImplementedError)):
            loss(*left)


def batch(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    outputs = {"logits": LOGITS, "auxiliary_logits": LOGITS, "pseudo_dwi": IMAGE, "high_level_feature": IMAGE}
    targets = {"label": IMAGE, "dwi": IMAGE, "attention": IMAGE}
    return tuple({key: given(shape, device) for key, shape in part.items()} for part in (outputs, targets))  # type: ignore[return-value]


def test_the_loss_of_the_training():
    loss = StrokeLesionLoss().to(META)
    outputs, targets = batch(META)
    value = loss(outputs, targets)
    value.backward()
    assert value.device == META
    assert on_meta(loss.terms)
    for part in range(2):
        for key in batch(META)[part]:
            mixed = batch(META)
            mixed[part][key] = batch(torch.device("cpu"))[part][key]
            with pytest.raises((RuntimeError, NotImplementedError)):
                loss(*mixed)


def test_the_loss_of_volumes():
    loss = SlicewiseLoss(StrokeLesionLoss()).to(META)
    outputs, targets = (
        {key: value.detach()[..., None].expand(-1, -1, -1, -1, 3) for key, value in part.items()}
        for part in batch(META)
    )
    assert loss(outputs, targets).device == META
