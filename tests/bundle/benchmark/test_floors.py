import pytest
import torch
from torch import nn

from bundle.benchmark import floors
from bundle.benchmark.floors import (
    bandwidth,
    convolution_rate,
    convolutions_alone,
    copies,
    machine_floors,
    matrix_rate,
    memory_floor_ms,
)
from bundle.benchmark.timing import Timing, alternate
from scripts.networks import UNet

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def timing(milliseconds):
    return Timing(milliseconds, (milliseconds, milliseconds))


def test_the_fastest_copy_counts():
    timings = {"copy of 64 MiB": timing(10.0), "copy of 128 MiB": timing(16.0), "ours": timing(1.0)}
    assert bandwidth(timings) == pytest.approx(2 * 128 * 2**20 / 0.016)
    assert memory_floor_ms(8, 64 * 2**20, timings) == pytest.approx(8 * 64 / 256 * 16)


def test_a_copy_copies():
    (name, run), *_ = copies(sizes_mib=(64,)).items()
    assert name == "copy of 64 MiB"
    assert float(run().sum()) == 0


def test_rates_are_those_of_a_computer():
    rate = matrix_rate(torch.float32, sizes=(256,))
    assert 1e8 < rate < 1e15
    assert 1e8 < convolution_rate(torch.float32, shapes=((32, 16),)) < 1e15
    assert 1e8 < bandwidth(alternate(copies(sizes_mib=(64,)), 1)) < 1e13


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
        whole = alternate({"network": lambda: network(image)}, 5)["network"].median_ms
    alone = alternate({"convolutions": convolutions_alone(network, image)}, 5)["convolutions"].median_ms
    assert 0 < alone < 1.5 * whole


@cuda
def test_floors_of_a_gpu():
    found = machine_floors(torch.device("cuda"))
    assert found["copy (GB/s)"] > 50
    assert found["bfloat16 matrix product (GFLOP/s)"] > found["float32 matrix product (GFLOP/s)"] > 100
