import pytest
import torch

from bundle.benchmark import floors
from bundle.benchmark.floors import convolutions_alone, memory_floor
from bundle.benchmark.measure import Group, Settings, peak_mib, timed
from scripts.networks import UNet

CHANNELS_LAST = torch.channels_last


@pytest.mark.parametrize("streams", [2, 3, 8])
def test_the_floor_of_memory_grows_with_the_streams(streams):
    x = torch.zeros(16 * 2**18)
    times = timed(Group("memory", {str(n): memory_floor(x, n) for n in (2, streams)}), Settings(rounds=20, quick=True))
    fastest = {way: min(measured.times) for way, measured in times.items()}
    assert fastest[str(streams)] == pytest.approx(streams / 2 * fastest["2"], rel=0.6)
    assert peak_mib(memory_floor(x, streams)) == 0  # it allocates nothing


@pytest.mark.parametrize("backward", [False, True])
def test_every_convolution_runs_alone_at_its_size(monkeypatch, backward):
    seen, run = [], floors._run_convolution

    def recorded(module, x, backward, input_gradient):
        run(module, x, backward, input_gradient)
        layouts = [tensor.is_contiguous(memory_format=CHANNELS_LAST) for tensor in (x, module.weight)]
        seen.append((tuple(x.shape), x.dtype, module.weight.dtype, *layouts))

    monkeypatch.setattr(floors, "_run_convolution", recorded)
    network = UNet(3, 2, features=(4, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    convolutions_alone(network, torch.rand(1, 3, 16, 24), torch.bfloat16, backward=backward)()
    assert [shape for shape, *_ in seen] == [
        (1, 3, 16, 24),
        (1, 4, 16, 24),
        (1, 4, 8, 12),
        (1, 8, 8, 12),
        (1, 8, 8, 12),  # transposed
        (1, 8, 16, 24),
        (1, 4, 16, 24),
        (1, 4, 16, 24),  # 1 x 1
    ]
    assert {tuple(rest) for _, *rest in seen} == {(torch.bfloat16, torch.bfloat16, True, True)}
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


def test_convolutions_take_less_than_the_network():
    network, image = UNet(3, 2, features=(8, 16)), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        runs = {"network": lambda: network(image), "alone": convolutions_alone(network, image)}
        times = timed(Group("a network", runs), Settings(rounds=3, quick=True))
    assert 0 < times["alone"].median < 1.5 * times["network"].median
