"""A network for inference alone: the same function with fewer and cheaper operations.

A batch normalization in evaluation is an affine map of each channel and is folded into the convolution before it.
Layers that autocast runs in bfloat16 get bfloat16 weights, which saves the conversion in every call. On a CPU the
layers of `scripts.networks.inference_layers` replace those of PyTorch.
"""

from collections import Counter
from collections.abc import Iterator
from copy import copy
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .inference_layers import HalvingMaxPool, PackedConvolution, SignReLU, is_halving_max_pool, is_packable

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED = _CONVOLUTIONS[3:]
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def inference_form(network: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A network for inference alone, with the outputs of ``network`` in evaluation mode.

    It is a snapshot of the weights; later changes are not seen.

    Args:
        network: is not changed. In the result, a batch normalization directly after a convolution in an
            ``nn.Sequential``, nested or not, is folded into it, unless one of the two is used elsewhere as well.
        dtype: of the weights of convolutions and linear layers. Run a ``torch.bfloat16`` network under autocast:
            normalizations keep float32 parameters and statistics.

    Returns:
        A network in evaluation mode, to be run without gradients. Unchanged weights are shared with ``network``. A
        TorchScript module is returned unchanged: its graph is fixed.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return network
    form = _copied(network, {})
    with torch.no_grad():
        _fold_normalizations(form)
        if dtype != torch.float32:
            _convert_weights(form, dtype)
        if dtype == torch.bfloat16 and all(parameter.device.type == "cpu" for parameter in form.parameters()):
            _take_lighter_layers(form)
    return form.eval()


def _copied(module: nn.Module, copies: dict[int, nn.Module]) -> nn.Module:
    """A copy of the module tree that shares the tensors; ten times faster than ``copy.deepcopy``."""
    if id(module) not in copies:
        copied = copies[id(module)] = copy(module)
        copied._parameters = module._parameters.copy()
        copied._modules = {
            name: None if child is None else _copied(child, copies) for name, child in module._modules.items()
        }
    return copies[id(module)]


def _fold_normalizations(network: nn.Module) -> None:
    for first, parent, name, second in _successors(network):
        if _is_foldable(first, second):
            _fold(first, second)
            parent.add_module(name, nn.Identity())


def _take_lighter_layers(network: nn.Module) -> None:
    layers: dict[int, nn.Module] = {}
    for first, parent, name, second in _successors(network):
        if is_packable(first) and type(second) is nn.ReLU and not (_hooks(first) or _hooks(second)):
            layers[id(first)] = PackedConvolution(first, rectified=True)
            parent.add_module(name, nn.Identity())
    for parent in list(network.modules()):
        for name, module in parent._modules.items():
            if module is not None and (lighter := _lighter(module, layers)) is not None:
                parent._modules[name] = lighter


def _lighter(module: nn.Module, layers: dict[int, nn.Module]) -> nn.Module | None:
    """The replacement of a module, the same one for each use; None if there is none."""
    if id(module) not in layers and not _hooks(module):
        if is_packable(module):
            layers[id(module)] = PackedConvolution(module)
        elif type(module) is nn.ReLU and module.inplace:
            layers[id(module)] = SignReLU()
        elif is_halving_max_pool(module):
            layers[id(module)] = HalvingMaxPool()
    return layers.get(id(module))


def _successors(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module, str, nn.Module]]:
    """Modules that run directly after another one and nowhere else: that other one, the parent, the name, the
    module.
    """
    uses = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    for sequence in [module for module in network.modules() if _is_sequence(module)]:
        for (_, _, first), (parent, name, second) in pairwise(list(_in_order(sequence))):
            if uses[id(first)] == uses[id(second)] == 1:
                yield first, parent, name, second


def _is_sequence(module: nn.Module) -> bool:
    """Whether the module runs its children one after the other and does nothing else."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _in_order(sequence: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """The modules that a sequence runs, including those of inner sequences, each with its parent and its name there.

    Modules without effect, which nothing reads, are left out.
    """
    for name, module in sequence._modules.items():  # `named_children` leaves out a second use of the same module
        if module is not None and _is_sequence(module):
            yield from _in_order(module)
        elif module is not None and (type(module) is not nn.Identity or _hooks(module)):
            yield sequence, name, module


def _is_foldable(first: nn.Module, second: nn.Module) -> bool:
    """Whether these are a convolution and its normalization, by their exact types: a subclass may do more."""
    return (
        type(first) in _CONVOLUTIONS
        and type(second) in _BATCH_NORMS
        and second.running_mean is not None
        and not (_hooks(first) or _hooks(second))
    )


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    return (*module._forward_pre_hooks.values(), *module._forward_hooks.values())


def _fold(convolution: Any, norm: Any) -> None:
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=type(convolution) in _TRANSPOSED,
    )


def _convert_weights(network: nn.Module, dtype: torch.dtype) -> None:
    for module in network.modules():
        if type(module) in (*_CONVOLUTIONS, nn.Linear):
            for name, weight in list(module.named_parameters(recurse=False)):
                module.register_parameter(name, nn.Parameter(weight.to(dtype), requires_grad=False))
