"""The form in which a network is run when nothing is learned: the same function, of fewer and lighter operations.

A batch normalization in evaluation is an affine map of each channel, so the convolution before it can do it. What is
computed in bfloat16 under autocast needs no float32 weights, whose conversion every call would repeat, and on a CPU the
layers of `scripts.networks.inference_layers` take the places of PyTorch's.
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
    """Another network for inference alone, which gives what ``network`` gives in evaluation.

    It is made of the weights as they are now, and does not follow when they change.

    Args:
        network: stays as it is. In the other one a batch normalization that comes right after a convolution in an
            ``nn.Sequential``, however nested, is folded into it, unless one of them is used elsewhere too.
        dtype: of the weights of convolutions and linear layers. With ``torch.bfloat16`` it is to be run under autocast,
            which takes care of all else: normalizations keep float32 parameters and statistics.

    Returns:
        A network in evaluation mode, to be run without gradients. It shares with ``network`` the weights that both
        have. A TorchScript module is returned as it is: its graph is fixed.
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
    """The tree of modules anew, around the same tensors; a tenth of the time of ``copy.deepcopy``."""
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
    """The layer that stands in for a module, the same one wherever the module is used; None where there is none."""
    if id(module) not in layers and not _hooks(module):
        if is_packable(module):
            layers[id(module)] = PackedConvolution(module)
        elif type(module) is nn.ReLU and module.inplace:
            layers[id(module)] = SignReLU()
        elif is_halving_max_pool(module):
            layers[id(module)] = HalvingMaxPool()
    return layers.get(id(module))


def _successors(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module, str, nn.Module]]:
    """Each module that runs right after another and nowhere else: that other one, its parent, its name and itself."""
    uses = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    for sequence in [module for module in network.modules() if _is_sequence(module)]:
        for (_, _, first), (parent, name, second) in pairwise(list(_in_order(sequence))):
            if uses[id(first)] == uses[id(second)] == 1:
                yield first, parent, name, second


def _is_sequence(module: nn.Module) -> bool:
    """Whether the children are run one after the other, and nothing else is done."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _in_order(sequence: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """What a sequence runs: each module with its parent and its name there, those of inner sequences among them.

    What does nothing, and is not looked at, is left out.
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
