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
