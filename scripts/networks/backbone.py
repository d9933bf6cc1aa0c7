"""The dilated residual network under PSPNet, and its weights from a local file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

#: Where an entry of a state dict may be absent: files of old PyTorch versions have no such counters.
COUNTER = "num_batches_tracked"


class DilatedResNet(ResNet):
    """MONAI's 2D ResNet with the strides of its last two stages replaced by dilation: output stride 8 instead of 32.

    Its parameters have torchvision's names. MONAI's own ``ResNetFeatures`` has neither dilation nor a choice of widths.

    Args:
        in_channels: number of input channels.
        features: widths of the four stages; a bottleneck block's output is four times as wide.
        layers: blocks in each stage; (3, 4, 6, 3) makes a ResNet-50 or, with basic blocks, a ResNet-34.
        block: "bottleneck" or "basic".

    Raises:
        ValueError: when ``features`` or ``layers`` do not have four entries of at least 1.
    """

    def __init__(
        self,
        in_channels: int,
        features: Sequence[int] = (64, 128, 256, 512),
        layers: Sequence[int] = (3, 4, 6, 3),
        block: str = "bottleneck",
    ) -> None:
        for name, values in (("features", features), ("layers", layers)):
            if len(values) != 4 or min(values) < 1:
                raise ValueError(f"{name} must have four entries of at least 1, got {tuple(values)}.")
        super().__init__(
            block,
            list(layers),
            list(features),
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )
        _dilate(self.layer3, before=1, after=2)
        _dilate(self.layer4, before=2, after=4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Feature maps of the third and the fourth stage, both an eighth of ``x`` (N, in_channels, H, W) in size.

        MONAI's ResNet returns class scores instead.
        """
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        third = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)


def _dilate(stage: nn.Module, before: int, after: int) -> None:
    """Remove the stride of a stage and dilate the 3 x 3 kernels that follow it, so that their receptive fields stay.

    At the positions of the undilated stage the values are the same: weights trained with strides stay valid.

    Args:
        stage: a stage of a ResNet.
        before: dilation up to the convolution with the stride.
        after: dilation of those that follow.
    """
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            if module.kernel_size == (3, 3):
                dilation = before if module.stride == (2, 2) else after
                module.dilation = module.padding = (dilation, dilation)
            module.stride = (1, 1)


def load_backbone(backbone: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load the weights of a ResNet, such as torchvision's for ImageNet, into ``backbone``.

    Every entry must be there and fit, except for the classifier ``fc``, which the backbone does not have, and the
    first convolution ``conv1``, which is adapted to the backbone's number of channels by `inflate_channels`.

    Args:
        backbone: the network to fill, with the names of torchvision's ResNet.
        path: a file with a state dict, alone or, as MedicalNet's files, under the key "state_dict".

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when an entry is missing, unexpected or of another shape.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"backbone_path: expected a file with the weights of a ResNet, got {path}")
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise ValueError(f"backbone_path: expected a state dict of tensors in {path}, got {type(loaded).__name__}")
    weights = {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
    expected = backbone.state_dict()
    first, like = weights.get("conv1.weight"), expected["conv1.weight"]
    if first is not None and first.dim() == like.dim():
        weights["conv1.weight"] = inflate_channels(first, like.shape[1])
    problems = {
        "missing": [name for name in expected if name not in weights and not name.endswith(COUNTER)],
        "unexpected": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(f"{len(names)} {kind}: {_shortened(names)}" for kind, names in problems.items() if names)
        raise ValueError(f"backbone_path: {path} does not hold the weights of this backbone: {found}")
    backbone.load_state_dict(expected | weights)


def inflate_channels(weight: Tensor, channels: int) -> Tensor:
    """Adapt the kernels (O, C, h, w) of a convolution to another number of input channels.

    The kernels are repeated over the channels and divided by the number of repetitions, or, for fewer channels, added,
    so that the response to equal channels is unchanged.

    Args:
        weight: the kernels.
        channels: the new number of input channels, at least 1.
    """
    old = weight.shape[1]
    pairs = torch.arange(max(old, channels))
    share = torch.zeros(channels, old, dtype=weight.dtype)
    share[pairs % channels, pairs % old] = 1
    return torch.einsum("io,kohw->kihw", share / share.sum(0), weight)


def _shortened(names: Sequence[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
