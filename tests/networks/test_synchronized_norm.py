import copy
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from scripts.networks import StrokeLesionNet, SwitchableNorm2d
from scripts.networks.synchronized_norm import (
    SynchronizedBatchNorm2d,
    SynchronizedSwitchableNorm2d,
    with_synchronized_norms,
)
from tests.processes import run_in_two

ITEMS = (3, 1)  # of each process: the shares need not be equal


def layers():
    torch.manual_seed(0)
    network = nn.Sequential(SwitchableNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def images():
    return torch.randn(sum(ITEMS), 4, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(1)) + 2


def results(network, x):
    """Output, gradient of the input, gradients of the parameters and buffers after one step."""
    x = x.clone().requires_grad_()
    y = network(x)
    (y**3).sum().backward()
    return y.detach(), x.grad, [p.grad for p in network.parameters()], [b.clone() for b in network.buffers()]


def normalize_share(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo")
    share = images().split(ITEMS)[rank]
    torch.save(results(with_synchronized_norms(layers()), share), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_normalize_as_one_with_all_items(tmp_path):
    run_in_two(normalize_share, str(tmp_path))
    shares = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    y, grad_x, grads, buffers = results(layers(), images())
    torch.testing.assert_close(torch.cat([share[0] for share in shares]), y)
    torch.testing.assert_close(torch.cat([share[1] for share in shares]), grad_x)
    for ours, other, whole in zip(shares[0][2], shares[1][2], grads, strict=True):
        torch.testing.assert_close(ours + other, whole)
    for share in shares:
        torch.testing.assert_close(share[3], buffers)


def test_one_process_needs_no_group():
    ours, other = results(with_synchronized_norms(layers()), images()), results(layers(), images())
    torch.testing.assert_close(ours, other, rtol=0, atol=0)


def test_parameters_and_names_stay():
    network = StrokeLesionNet((2, 4))
    parameters = dict(network.named_parameters())
    keys = list(network.state_dict())
    kinds = [type(module) for module in network.modules()]
    synchronized = with_synchronized_norms(network.eval())
    assert list(synchronized.state_dict()) == keys
    assert all(parameters[name] is parameter for name, parameter in synchronized.named_parameters())
    others = [type(module) for module in synchronized.modules()]
    assert others.count(SynchronizedBatchNorm2d) == kinds.count(nn.BatchNorm2d) > 0
    assert others.count(SynchronizedSwitchableNorm2d) == kinds.count(SwitchableNorm2d) > 0
    assert not any(module.training for module in synchronized.modules())


def test_it_can_be_left_out():
    network = StrokeLesionNet((2, 4))
    kinds = [type(module) for module in network.modules()]
    assert [type(module) for module in with_synchronized_norms(network, enabled=False).modules()] == kinds


def test_evaluation_uses_the_running_statistics():
    torch.manual_seed(0)
    network = layers().eval()
    expected = copy.deepcopy(network)(images())
    torch.testing.assert_close(with_synchronized_norms(network)(images()), expected, rtol=0, atol=0)
