"""What the machine needs at least: to read and write the memory, and to run a network's convolutions alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor, nn

from scripts.networks import switchable_norm

from .measure import Run


@contextmanager
def plain_normalization() -> Iterator[None]:
    """Let switchable normalization run in ordinary operations, as in exports."""
    with patch.object(switchable_norm, "_fused_applies", return_value=False):
        yield


def memory_floor(x: Tensor, streams: int) -> Run:
    """A function that does nothing but read or write a tensor's bytes so often, at least twice."""
    copies, sums = {0: (streams // 2, 0), 1: ((streams - 3) // 2, 1)}[streams % 2]  # two and three streams each
    others = x.clone(), torch.empty_like(x)

    def run() -> None:
        for _ in range(copies):
            others[1].copy_(x)
        for _ in range(sums):
            torch.add(x, others[0], out=others[1])

    return run


def convolutions_alone(
    network: nn.Module, image: Tensor, dtype: torch.dtype = torch.float32, *, backward: bool = False
) -> Run:
    """A function that runs a network's convolutions and nothing else: the same shapes, channels-last.

    To be timed next to the network: the time of the convolutions is the limit of what all else can be brought to.

    Args:
        network: may hold convolutions and transposed convolutions; one that is called twice counts twice.
        image: the network's input; the sizes of all feature maps follow from it.
        dtype: of weights and feature maps.
        backward: take their gradients too, the input's where the network does.
    """
    network = deepcopy(network).eval()  # a training network's running statistics must not change
    inputs: dict[torch.Size, Tensor] = {}
    runs: list[Run] = []

    def collect(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        x = given[0]
        if x.shape not in inputs:
            inputs[x.shape] = torch.rand(x.shape, device=x.device).to(dtype, memory_format=torch.channels_last)
        runs.append(partial(_run_convolution, module, inputs[x.shape], backward, x.requires_grad))

    convolutions = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    hooks = [module.register_forward_pre_hook(collect) for module in convolutions]
    with torch.set_grad_enabled(backward):
        network(image)
    for hook, module in zip(hooks, convolutions, strict=True):
        hook.remove()
        module.to(dtype)
        module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return lambda: [run() for run in runs]


def _run_convolution(module: nn.Module, x: Tensor, backward: bool, input_gradient: bool) -> None:
    if not backward:
        with torch.inference_mode():
            module(x)
        return
    leaf = x.detach().requires_grad_(input_gradient)
    y = module(leaf)
    torch.autograd.grad(y, [leaf] * input_gradient + list(module.parameters()), y.detach())
