import torch

from scripts.networks import StrokeLesionNet, WithSynthesis
from scripts.workflow import LesionInferer


def test_every_slice_as_the_network_with_its_mirror_image_sees_it():
    torch.manual_seed(0)
    network = StrokeLesionNet((4, 8)).eval()
    case = torch.rand(1, 11, 16, 16, 3)
    with torch.no_grad():
        result = LesionInferer((16, 16), mirror=True, sw_batch_size=2)(case, network)
        expected = [WithSynthesis(network, mirror=True)(case[..., i]) for i in range(3)]
    torch.testing.assert_close(result, torch.stack(expected, dim=-1))


def test_the_weights_of_the_moment_are_used():
    torch.manual_seed(0)
    network, case = StrokeLesionNet((4, 8)).eval(), torch.rand(1, 11, 16, 16, 2)
    infer = LesionInferer((16, 16))
    with torch.no_grad():
        for change in (lambda weight: weight.mul_(1.5), lambda weight: weight.data.copy_(-weight.data)):
            result = infer(case, network)
            torch.testing.assert_close(result[0, :2, ..., 0], network(case[..., 0])[0], atol=1e-5, rtol=1e-5)
            change(network.generator.encoder[0].convolutions[0].weight)
            assert not torch.allclose(infer(case, network), result)


def test_gradients_and_batch_statistics_where_something_is_learned():
    network, case = StrokeLesionNet((4, 8)).train(), torch.rand(1, 11, 16, 16, 2)
    statistics = network.generator.encoder[0].convolutions[1].running_mean
    before = statistics.clone()
    LesionInferer((16, 16))(case, network).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not torch.equal(statistics, before)


def test_bfloat16_is_close():
    torch.manual_seed(0)
    network, case = StrokeLesionNet((4, 8)).eval(), torch.rand(1, 11, 16, 16, 2)
    with torch.no_grad():
        rough, exact = (LesionInferer((16, 16), amp=amp)(case, network)[:, :2].softmax(1) for amp in (True, False))
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 1e-2
