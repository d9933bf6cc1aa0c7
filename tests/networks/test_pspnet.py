import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scripts.networks import PSPNet
from scripts.networks.backbone import DilatedResNet
from scripts.networks.pspnet import PyramidLevel, PyramidPooling

SMALL = {"features": (2, 2, 4, 4), "layers": (1, 1, 1, 1)}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PSPNet(3, 2, **SMALL).eval()


def test_auxiliary_branch_stands_beside_the_logits(network):
    x = torch.rand(2, 3, 40, 33)
    outputs = network.with_auxiliary(x)
    assert outputs._fields == ("logits", "auxiliary_logits")
    torch.testing.assert_close(outputs.logits, network(x))
    assert outputs.auxiliary_logits.shape == outputs.logits.shape
    assert not torch.equal(outputs.auxiliary_logits, outputs.logits)
    scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted.with_auxiliary(x).auxiliary_logits, outputs.auxiliary_logits)


def test_all_parameters_learn_but_the_auxiliary_branch_from_its_own_loss_alone(network):
    x = torch.rand(3, 3, 64, 64)
    network.train()(x).square().sum().backward()
    auxiliary = {f"auxiliary.{name}" for name, _ in network.auxiliary.named_parameters()}
    assert {name for name, p in network.named_parameters() if p.grad is None} == auxiliary
    sum(output.square().sum() for output in network.with_auxiliary(x)).backward()
    assert all(torch.isfinite(p.grad).all() and (p.grad != 0).any() for p in network.parameters())


def test_no_feature_map_is_shifted_against_the_image(network):
    # Kernels that equal their mirror image make a network that commutes with mirroring only where all maps are aligned.
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = (module.weight.data + module.weight.data.flip(2, 3)) / 2
            module.weight.data = (module.weight.data + module.weight.data.flip(3)) / 2
    x = torch.rand(1, 3, 41, 57)
    torch.testing.assert_close(network(x.flip(2, 3)), network(x).flip(2, 3))


def test_other_sizes_are_padded_and_cropped(network):
    x = torch.rand(1, 3, 36, 41)
    torch.testing.assert_close(network(x), network(F.pad(x, [0, 0, 0, 5]))[:, :, :36])


def test_a_batch_of_one_slice_can_be_trained(network):
    level = network.pyramid.levels[0]
    level.norm.running_mean.fill_(0.5)
    network.train()(torch.rand(1, 3, 32, 32)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert (level.norm.running_mean == 0.5).all()  # one value is no sample
    assert torch.isfinite(torch.jit.script(network)(torch.rand(1, 3, 32, 32))).all()


def test_pyramid_level_averages_regions():
    torch.manual_seed(0)
    level = PyramidLevel(2, 3, bins=2).eval()
    x = torch.rand(1, 2, 4, 6)
    quarters = torch.stack([x[:, :, i : i + 2, j : j + 3].mean((2, 3)) for i in (0, 2) for j in (0, 3)], dim=-1)
    expected = torch.einsum("oc,ncq->noq", level.convolution.weight[:, :, 0, 0], quarters) / (1 + 1e-5) ** 0.5
    corners = level(x)[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(corners, expected.clamp_min(0))


def test_pyramid_pooling_keeps_its_input_and_doubles_the_channels():
    pooling, x = PyramidPooling(8, (1, 2, 3, 6)), torch.rand(2, 8, 7, 9)
    assert torch.equal(pooling(x)[:, :8], x)
    assert pooling(x).shape == (2, pooling.out_channels, 7, 9) == (2, 16, 7, 9)


def test_backbone_from_a_file(tmp_path, network):
    pretrained = DilatedResNet(3, **SMALL)
    torch.save(pretrained.state_dict(), tmp_path / "resnet.pth")
    loaded = PSPNet(4, 2, **SMALL, backbone_path=tmp_path / "resnet.pth")
    assert torch.equal(loaded.backbone.layer4[0].conv2.weight, pretrained.layer4[0].conv2.weight)
    assert not torch.equal(network.backbone.layer4[0].conv2.weight, pretrained.layer4[0].conv2.weight)
    with pytest.raises(
        ValueError, match=r"of another shape: conv1\.weight \(2, 4, 7, 7\) instead of \(4, 4, 7, 7\), bn1"
    ):
        PSPNet(4, 2, features=(4, 2, 4, 4), layers=(1, 1, 1, 1), backbone_path=tmp_path / "resnet.pth")
