import pytest
import torch
from monai.networks.blocks import Convolution
from torch import nn

from scripts.networks import FCN, PSPNet, R2UNet, ResUNet, StrokeLesionNet, UNet, VNet
from scripts.networks.inference_form import inference_form
from scripts.networks.inference_layers import is_packable

SMALL = (4, 8, 8)
SUPPORTED = is_packable(nn.Conv2d(1, 1, 1).bfloat16())
"""Whether this machine convolves in bfloat16."""


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with weights and statistics as after a training run, far from those at its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.5, generator=generator)
                module.running_var.uniform_(0.3, 3, generator=generator)
                module.weight.uniform_(-1, 2, generator=generator)
                module.bias.normal_(0, 0.5, generator=generator)
        for name, parameter in network.named_parameters():
            if name.endswith(("mean_weight", "var_weight")):
                parameter.normal_(generator=generator)
    return network.eval()


def image(channels: int = 11, *size: int) -> torch.Tensor:
    return torch.rand(2, channels, *(size or (32, 32)), generator=torch.Generator().manual_seed(1))


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


@pytest.mark.parametrize(
    ("network", "left"),
    [
        (StrokeLesionNet(SMALL), 0),
        (StrokeLesionNet(SMALL, norm="switchable", segmentor_norm="batch", segment_maps=True), 0),
        (StrokeLesionNet(SMALL, frames=6, maps=5, temporal_mip=False, norm=("batch", {"eps": 1e-3})), 0),
        (UNet(11, 2, SMALL, squeeze_excitation=True), 0),
        (UNet(11, 2, SMALL, norm="instance"), 0),
        (ResUNet(11, 2, SMALL), 0),
        (R2UNet(11, 2, SMALL), 0),
        (FCN(11, 2), 5),  # ReLU comes between
        (PSPNet(11, 2), 53),  # the backbone is no sequence
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_same_probability(network, left):
    settled(network)
    form = inference_form(network)
    x = image(11, 64, 72)
    with torch.no_grad():
        torch.testing.assert_close(form(x).softmax(1), network(x).softmax(1), atol=1e-5, rtol=0)
    assert norms(form) == left


def test_volumes():
    network = settled(VNet(11, 2))
    with torch.no_grad():
        volume = image(11, 32, 32, 8)
        torch.testing.assert_close(
            inference_form(network)(volume).softmax(1), network(volume).softmax(1), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_every_kind_of_convolution(dimensions, bias, transposed):
    block = Convolution(
        dimensions, 3, 4, strides=2, is_transposed=transposed, norm="batch", bias=bias, adn_ordering="NA"
    )
    settled(block)
    form = inference_form(block)
    assert norms(form) == 0
    with torch.no_grad():
        x = torch.rand(2, 3, *(8,) * dimensions)
        torch.testing.assert_close(form(x), block(x))


def test_what_is_used_twice_stays():
    convolution, relu = nn.Conv2d(2, 2, 1), nn.ReLU()
    inner = nn.Sequential(nn.Conv2d(2, 2, 1))
    network = settled(
        nn.Sequential(
            *(convolution, nn.BatchNorm2d(2), convolution, nn.BatchNorm2d(2)),
            *(relu, nn.Conv2d(2, 2, 1), relu, nn.BatchNorm2d(2)),
            *(inner, nn.BatchNorm2d(2), inner),
        )
    )
    form = inference_form(network)
    assert norms(form) == 4
    with torch.no_grad():
        torch.testing.assert_close(form(image(2)), network(image(2)))


def test_a_sequence_that_does_more_stays():
    class Residual(nn.Sequential):
        def forward(self, x):
            y = self[0](x)
            return y + self[1](y)

    network = settled(Residual(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)))
    with torch.no_grad():
        torch.testing.assert_close(inference_form(network)(image(2)), network(image(2)))


def test_what_is_looked_at_stays():
    network, seen = settled(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))), []
    network[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        expected = nn.functional.conv2d(image(2), network[0].weight, network[0].bias)
        inference_form(network)(image(2))
    torch.testing.assert_close(seen, [expected])


def test_the_network_is_left_as_it_is():
    network = settled(StrokeLesionNet(SMALL)).train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    form = inference_form(network)
    assert network.training
    assert not any(module.training for module in form.modules())
    assert list(network.state_dict()) == list(state)
    torch.testing.assert_close(dict(network.state_dict()), state, atol=0, rtol=0)
    network(image()).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_weights_that_do_not_change_are_shared():
    network = settled(UNet(11, 2, SMALL)).to(memory_format=torch.channels_last)
    form = inference_form(network)
    assert form.output.weight is network.output.weight
    folded = form.encoder[0].convolutions[0].weight
    assert folded is not network.encoder[0].convolutions[0].weight
    assert folded.is_contiguous(memory_format=torch.channels_last)


def test_bfloat16():
    network = settled(StrokeLesionNet((8, 16, 16)))
    form = inference_form(network, torch.bfloat16)
    dtypes = {type(module).__name__: {p.dtype for p in module.parameters(False)} for module in form.modules()}
    assert dtypes["Linear"] == {torch.bfloat16}
    assert dtypes["SwitchableNorm2d"] == {torch.float32}
    if SUPPORTED:
        assert dtypes["PackedConvolution"] == set()
        assert not dtypes.keys() & {"Conv2d", "ConvTranspose2d", "MaxPool2d"}
    else:
        assert dtypes["Conv2d"] == dtypes["ConvTranspose2d"] == {torch.bfloat16}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, autocast = form(image()).float().softmax(1), network(image()).float().softmax(1)
    with torch.no_grad():
        expected = network(image()).softmax(1)
    # As near as with weights that are rounded in every call.
    assert (found - expected).abs().max() < 2 * (autocast - expected).abs().max() + 1e-3


@pytest.mark.parametrize(
    "network",
    [
        StrokeLesionNet((8, 16, 16)),
        UNet(11, 2, SMALL, squeeze_excitation=True),
        ResUNet(11, 2, SMALL),
        R2UNet(11, 2, SMALL),
        FCN(11, 2),
        PSPNet(11, 2),
    ],
    ids=lambda network: type(network).__name__,
)
def test_lighter_layers_give_the_same(network, monkeypatch):
    settled(network)
    form = inference_form(network, torch.bfloat16)
    monkeypatch.setattr("scripts.networks.inference_form._take_lighter_layers", lambda network: None)
    usual = inference_form(network, torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        x = image(11, 70, 66).to(memory_format=torch.channels_last)
        torch.testing.assert_close(form(x), usual(x), atol=1e-2, rtol=1e-2)


def test_a_rectifier_of_several_layers_stays_one():
    relu = nn.ReLU(inplace=True)
    network = settled(nn.Sequential(nn.Conv2d(2, 4, 1), relu, nn.Conv2d(4, 4, 1), relu, nn.Conv2d(4, 2, 1)))
    form = inference_form(network, torch.bfloat16)
    assert form[1] is form[3]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(form(image(2)), network(image(2)))


def test_what_is_looked_at_between_stays():
    network, seen = settled(nn.Sequential(nn.Conv2d(2, 2, 1), nn.Identity(), nn.BatchNorm2d(2))), []
    network[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        inference_form(network)(image(2))
        torch.testing.assert_close(seen, [network[0](image(2))])


def test_what_is_looked_at_in_bfloat16_stays():
    network, seen = settled(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True))), []
    network[1].register_forward_pre_hook(lambda module, inputs: seen.append(float(inputs[0].min())))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        inference_form(network, torch.bfloat16)(image(2) - 0.5)
    assert seen[0] < 0


def test_torchscript_is_returned_as_it_is():
    scripted = torch.jit.script(settled(StrokeLesionNet(SMALL)))
    assert inference_form(scripted) is scripted


def test_the_form_can_be_scripted():
    form = inference_form(settled(StrokeLesionNet(SMALL)))
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(form)(image()), form(image()), atol=1e-5, rtol=1e-5)
