import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.nets.resnet import ResNet

from scripts.networks.backbone import DilatedResNet, inflate_channels, load_backbone

SMALL = {"features": (2, 2, 4, 4), "layers": (1, 2, 1, 1)}


def randomized(network):
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1 if "running_var" in name else torch.randn_like(tensor) / 4)
    return network.eval()


def test_resnet50_has_the_parameters_of_torchvision():
    with torch.device("meta"):
        network = DilatedResNet(3)
    assert sum(p.numel() for p in network.parameters()) == 25_557_032 - 2_049_000  # resnet50 without its fc
    names = network.state_dict()
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.downsample.1.bias", "layer4.2.conv3.weight"} <= set(names)
    assert len(names) == 318  # of torchvision's resnet50, without fc


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_dilated_stages_hold_the_values_of_the_strided_ones(block):
    features, layers = (4, 4, 8, 8), (1, 2, 3, 2)
    strided = randomized(
        ResNet(block, layers, features, 2, 3, conv1_t_stride=2, feed_forward=False, bias_downsample=False)
    ).double()
    dilated = DilatedResNet(3, features, layers, block).eval().double()
    dilated.load_state_dict(strided.state_dict())
    x = torch.rand(1, 3, 65, 97, dtype=torch.float64)
    second = strided.layer2(strided.layer1(strided.maxpool(strided.act(strided.bn1(strided.conv1(x))))))
    expected = strided.layer3(second)
    third, fourth = dilated(x)
    assert third.shape[2:] == fourth.shape[2:] == (9, 13)
    torch.testing.assert_close(third[:, :, ::2, ::2], expected)
    torch.testing.assert_close(fourth[:, :, ::4, ::4], strided.layer4(expected))


@given(old=st.integers(1, 7), new=st.integers(1, 12))
def test_inflated_kernels_respond_to_equal_channels_as_before(old, new):
    weight = torch.randn(5, old, 3, 3, generator=torch.Generator().manual_seed(old), dtype=torch.float64)
    inflated = inflate_channels(weight, new)
    assert inflated.shape == (5, new, 3, 3)
    torch.testing.assert_close(inflated.sum(1), weight.sum(1))


def test_inflated_kernels_by_hand():
    weight = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    assert inflate_channels(weight, 3).flatten().tolist() == [1, 2, 3]
    assert inflate_channels(weight, 4).flatten().tolist() == [0.5, 2, 3, 0.5]
    assert inflate_channels(weight, 2).flatten().tolist() == [4, 2]
    assert inflate_channels(weight, 1).flatten().tolist() == [6]


@pytest.fixture
def pretrained():
    return randomized(DilatedResNet(3, **SMALL)).state_dict()


def test_weights_of_another_number_of_channels(tmp_path, pretrained):
    classifier = {"fc.weight": torch.zeros(1000, 16), "fc.bias": torch.zeros(1000)}
    torch.save(pretrained | classifier, tmp_path / "weights.pth")
    backbone = DilatedResNet(5, **SMALL)
    load_backbone(backbone, tmp_path / "weights.pth")
    loaded = backbone.state_dict()
    assert loaded.pop("conv1.weight").shape == (2, 5, 7, 7)
    assert all(torch.equal(loaded[name], pretrained[name]) for name in loaded)
    like = DilatedResNet(3, **SMALL)
    like.load_state_dict(pretrained)
    gray = torch.rand(1, 1, 33, 33)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone.eval()(gray.expand(-1, 5, -1, -1))[1], like.eval()(gray.expand(-1, 3, -1, -1))[1]
        )


def test_weights_in_the_wrapping_of_medicalnet_and_without_counters(tmp_path, pretrained):
    wrapped = {f"module.{name}": value for name, value in pretrained.items() if "num_batches" not in name}
    torch.save({"state_dict": wrapped}, tmp_path / "weights.pth")
    backbone = DilatedResNet(3, **SMALL)
    load_backbone(backbone, str(tmp_path / "weights.pth"))
    assert all(torch.equal(value, pretrained[name]) for name, value in backbone.named_parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("bn1.weight"), r"1 missing: bn1\.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (
            lambda w: w.update({"bn1.bias": torch.zeros(7)}),
            r"1 of another shape: bn1\.bias \(7,\) instead of \(2,\)",
        ),
        (lambda w: w.update({"conv1.weight": torch.zeros(2, 3, 7, 7, 7)}), r"conv1\.weight \(2, 3, 7, 7, 7\)"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path, pretrained, change, message):
    change(pretrained)
    torch.save(pretrained, tmp_path / "weights.pth")
    backbone = DilatedResNet(3, **SMALL)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=f"backbone_path: .* does not hold the weights of this backbone: .*{message}"):
        load_backbone(backbone, tmp_path / "weights.pth")
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_files_that_hold_no_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"backbone_path: expected a file .* got .*none\.pth"):
        load_backbone(DilatedResNet(3, **SMALL), tmp_path / "none.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="backbone_path: expected a state dict of tensors in .* got list"):
        load_backbone(DilatedResNet(3, **SMALL), tmp_path / "list.pth")


@pytest.mark.parametrize("arguments", [{"features": (2, 2, 4)}, {"layers": (1, 0, 1, 1)}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must have four entries of at least 1"):
        DilatedResNet(3, **(SMALL | arguments))
