import pytest
import torch

from scripts.networks import StrokeLesionNet, StrokeLesionOutput

SMALL = (4, 8, 8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return StrokeLesionNet(SMALL).eval()


def test_shapes(network):
    outputs = network.synthesize(torch.rand(2, 11, 32, 24))
    assert isinstance(outputs, StrokeLesionOutput)
    assert outputs.logits.shape == (2, 2, 32, 24)
    assert outputs.pseudo_dwi.shape == outputs.high_level_feature.shape == (2, 1, 32, 24)


def test_forward_gives_the_logits(network):
    image = torch.rand(2, 11, 32, 32)
    torch.testing.assert_close(network(image), network.synthesize(image).logits)


def test_wiring(network):
    """F_h = Phi_e(frames), I_g = Phi_g(maps, MIP, F_h), P = Phi_s(I_g), written out (Eq. 4, 5, 10)."""
    image = torch.rand(1, 11, 32, 32)
    feature = network.extractor(image[:, :6])
    pseudo_dwi = network.generator(torch.cat([image[:, 6:10], image[:, 10:], feature], 1))
    outputs = network.synthesize(image)
    torch.testing.assert_close(outputs.high_level_feature, feature)
    torch.testing.assert_close(outputs.pseudo_dwi, pseudo_dwi)
    torch.testing.assert_close(outputs.logits, network.segmentor(pseudo_dwi))


def test_maps_do_not_reach_the_high_level_feature(network):
    image = torch.rand(1, 11, 32, 32)
    other = image.clone()
    other[:, 6:] += 1
    first, second = network.synthesize(image), network.synthesize(other)
    torch.testing.assert_close(first.high_level_feature, second.high_level_feature)
    assert not torch.allclose(first.pseudo_dwi, second.pseudo_dwi)


def test_segmentation_loss_reaches_all_three_networks(network):
    network.train()(torch.rand(2, 11, 32, 32)).square().sum().backward()
    for part in (network.extractor, network.generator, network.segmentor):
        assert all((parameter.grad != 0).any() for parameter in part.parameters())


def test_scripted_equals_eager(network):
    scripted = torch.jit.script(network)
    image = torch.rand(2, 11, 37, 32)
    torch.testing.assert_close(scripted(image), network(image))
    torch.testing.assert_close(scripted.synthesize(image).pseudo_dwi, network.synthesize(image).pseudo_dwi)


def test_exported_equals_eager(network):
    image = torch.rand(2, 11, 32, 32)
    torch.testing.assert_close(torch.export.export(network, (image,)).module()(image), network(image))


def test_state_round_trip(network):
    other = StrokeLesionNet(SMALL).eval()
    other.load_state_dict(network.state_dict())
    image = torch.rand(1, 11, 32, 32)
    torch.testing.assert_close(other(image), network(image), rtol=0, atol=0)


def test_other_numbers_of_frames_and_maps():
    assert StrokeLesionNet(SMALL, frames=3, maps=0)(torch.rand(1, 4, 16, 16)).shape == (1, 2, 16, 16)


def test_without_frames_there_is_no_extractor():
    network = StrokeLesionNet(SMALL, frames=0, temporal_mip=False).eval()
    assert network.extractor is None
    image = torch.rand(1, 4, 16, 16)
    outputs = network.synthesize(image)
    assert outputs.high_level_feature is None
    torch.testing.assert_close(outputs.pseudo_dwi, network.generator(image))
    torch.testing.assert_close(torch.jit.script(network)(image), outputs.logits)


def test_the_segmentor_may_see_the_maps():
    network = StrokeLesionNet(SMALL, segment_maps=True).eval()
    image = torch.rand(1, 11, 16, 16)
    outputs = network.synthesize(image)
    seen = torch.cat([image[:, 6:10], outputs.pseudo_dwi], 1)
    torch.testing.assert_close(outputs.logits, network.segmentor(seen))


def test_detached_networks_learn_from_their_own_output_alone():
    network = StrokeLesionNet(SMALL, detached=("high_level_feature", "pseudo_dwi"))
    parts = {"logits": "segmentor", "pseudo_dwi": "generator", "high_level_feature": "extractor"}
    for output, trained in parts.items():
        network.zero_grad()
        getattr(network.synthesize(torch.rand(2, 11, 16, 16)), output).square().sum().backward()
        for part in parts.values():
            has_gradient = any(parameter.grad is not None for parameter in network.get_submodule(part).parameters())
            assert has_gradient == (part == trained), (output, part)


def test_what_cannot_be_detached_is_named():
    with pytest.raises(ValueError, match="detached must name high_level_feature or pseudo_dwi, got .'logits',."):
        StrokeLesionNet(SMALL, detached=["logits"])


@pytest.mark.parametrize("arguments", [{"frames": -1}, {"maps": -1}, {"frames": 0, "maps": 0, "temporal_mip": False}])
def test_there_must_be_an_input(arguments):
    with pytest.raises(ValueError, match="frames and maps must not be negative nor all inputs absent"):
        StrokeLesionNet(SMALL, **arguments)


@pytest.mark.parametrize("shape", [(1, 4, 32, 32), (11, 32, 32), (1, 12, 32, 32)])
def test_wrong_channels(network, shape):
    message = r"image must have shape \(N, 11, H, W\) with 6 frames, 4 perfusion maps and 1 temporal MIP"
    with pytest.raises(ValueError, match=message):
        network(torch.rand(shape))
    with pytest.raises(torch.jit.Error, match=message):
        torch.jit.script(network)(torch.rand(shape))


def test_dropout_varies_the_output_in_training_mode_alone() -> None:
    torch.manual_seed(0)
    plain, dropping = StrokeLesionNet(features=(4, 8, 8)), StrokeLesionNet(features=(4, 8, 8), dropout=0.2)
    dropping.load_state_dict(plain.state_dict())
    image = torch.rand(2, 11, 32, 32)
    assert torch.equal(dropping.eval()(image), plain.eval()(image))
    torch.jit.script(dropping)
    dropping.train()
    assert not torch.equal(dropping(image), dropping(image))
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1"):
        StrokeLesionNet(features=(4, 8), dropout=1)
