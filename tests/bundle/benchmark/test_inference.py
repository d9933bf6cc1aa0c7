import pytest
import torch

from bundle.benchmark import inference
from bundle.benchmark.inference import dataset_differences, move_statistics, random_case, ways
from bundle.benchmark.measure import Settings
from scripts.networks import StrokeLesionNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = StrokeLesionNet(features=(2, 4)).eval()
    move_statistics(network)
    return network


def test_the_plain_form_gives_what_the_network_gives(network):
    case = random_case(network, 2, 16)
    with torch.no_grad():
        expected = torch.stack([network(case[..., index]) for index in range(2)], dim=-1)
    torch.testing.assert_close(ways(network, case)["plain"](), expected, atol=1e-5, rtol=1e-5)


def test_all_ways_give_the_same_probability(network):
    runs = ways(network, random_case(network, 3, 32))
    expected = runs.pop("plain")().softmax(1)
    for name, run in runs.items():
        tolerance = 1e-5 if name == "float32" else 1e-2
        torch.testing.assert_close(run()[:, :2].softmax(1), expected, atol=tolerance, rtol=0)


def test_statistics_are_moved(network):
    assert network.generator.encoder[0].convolutions[1].running_mean.abs().min() > 0
    assert len(network.generator.encoder[0].convolutions[1].running_var.unique()) > 1


def test_bfloat16_is_compared_with_float32_in_test_cases(dataset_dir, monkeypatch):
    monkeypatch.setattr(inference, "TEST_CASES", 1)
    probability, dice = dataset_differences(Settings(dataset_dir=dataset_dir))
    assert 0 < probability.value < 0.2
    assert probability.limit == 1e-2
    assert 0 <= dice.value < 0.2
    assert "1 test cases" in dice.what
