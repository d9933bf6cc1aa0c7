import pytest
import torch

from bundle.benchmark.inference import PLAIN, PlainLogits, _runs, move_statistics, random_case
from scripts.networks import StrokeLesionNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = StrokeLesionNet(features=(2, 4)).eval()
    move_statistics(network)
    return network


def test_the_plain_form_gives_what_the_network_gives(network):
    image = torch.rand(2, 11, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(PlainLogits(network)(image), network(image), atol=1e-5, rtol=1e-5)


def test_all_ways_give_the_same_probability(network):
    runs = _runs(network, random_case(network, 3, 32, torch.device("cpu")))
    expected = runs.pop(PLAIN)().softmax(1)
    for name, run in runs.items():
        tolerance = 1e-5 if name == "float32" else 1e-2
        torch.testing.assert_close(run()[:, :2].softmax(1), expected, atol=tolerance, rtol=0)


def test_statistics_are_moved(network):
    assert network.generator.encoder[0].convolutions[1].running_mean.abs().min() > 0
    assert len(network.generator.encoder[0].convolutions[1].running_var.unique()) > 1
