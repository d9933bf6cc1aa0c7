import pytest
import torch
from torch import nn

from bundle.benchmark import floors
from bundle.benchmark.floors import convolutions_alone, memory_floor
from bundle.benchmark.measure import Group, Settings, peak_mib, timed
from scripts.networks import UNet


@pytest.mark.parametrize("streams", [2, 3, 8])
def test_the_floor_of_memory_grows_with_the_streams(streams):
    x = torch.zeros(16 * 2**18)
    times = timed(Group("memory", {str(n): memory_floor(x, n) for n in (2, streams)}), Settings(rounds=20, quick=True))
    fastest = {way: min(measured.times) for way, measured in times.items()}
    assert fastest[str(streams)] == pytest.approx(streams / 2 * fastest["2"], rel=0.6)
    assert peak_mib(memory_floor(x, streams)) == 0  # it allocates nothing


class Recorder(nn.Module):
    """A convolution in the place of which one can see what it is given."""

    def __init__(self, inner, seen):
        super().__init__()
        self.inner, self.seen = inner, seen

    def forward(self, x):
        self.seen.append((tuple(x.shape), x.dtype, x.is_contiguous(memory_format=torch.channels_last)))
        return self.inner(x)


@pytest.mark.parametrize("backward", [False, True])
def test_every_convolution_runs_alone_at_its_size(monkeypatch, backward):
    seen, alone = [], floors._convolution
    monkeypatch.setattr(floors, "_convolution", lambda module, dtype: Recorder(alone(module, dtype), seen))
    network = UNet(3, 2, features=(4, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    convolutions_alone(network, torch.rand(1, 3, 16, 24), torch.bfloat16, backward=backward)()
    assert [shape for shape, _, _ in seen] == [
        (1, 3, 16, 24),
        (1, 4, 16, 24),
        (1, 4, 8, 12),
        (1, 8, 8, 12),
        (1, 8, 8, 12),  # transposed
        (1, 8, 16, 24),
        (1, 4, 16, 24),
        (1, 4, 16, 24),  # 1 x 1
    ]
    assert {(dtype, channels_last) for _, dtype, channels_last in seen} == {(torch.bfloat16, True)}
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


def test_convolutions_take_less_than_the_network():
    network, image = UNet(3, 2, features=(8, 16)), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        runs = {"network": lambda: network(image), "alone": convolutions_alone(network, image)}
        times = timed(Group("a network", runs), Settings(rounds=3, quick=True))
    assert 0 < times["alone"].median < 1.5 * times["network"].median
