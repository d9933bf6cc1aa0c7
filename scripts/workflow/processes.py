"""What a training or an evaluation in several processes needs beside ``DistributedDataParallel``."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import DistributedSampler
from monai.engines import IterationEvents
from torch import Tensor, distributed, nn


def case_sampler(dataset: Sized) -> DistributedSampler | None:
    """Return the sampler that gives each process its own part of the cases, each case to one of them.

    With fewer cases than processes there is none, and every process takes them all: a mean over the processes is the
    same, and none waits for a process that has nothing to do.

    Args:
        dataset: the cases.
    """
    if len(dataset) < distributed.get_world_size():
        return None
    return DistributedSampler(dataset, even_divisible=False, shuffle=False)  # type: ignore[arg-type]


class SynchronisedLoss:
    """Ignite handler that makes one loss of the losses of all processes of a training.

    ``DistributedDataParallel`` averages the gradients of the network. Those of the loss, which has a trained context
    encoder, are averaged here: in a step where a process has no DWI it does not use the encoder, and a second
    ``DistributedDataParallel`` would wait for its gradients for ever. The values that handlers log become means over
    the processes, so attach it before them.

    Args:
        loss: the loss; its ``terms``, where it has them, are those that are logged.
    """

    def __init__(self, loss: nn.Module):
        self.loss = loss

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the training."""
        engine.add_event_handler(Events.STARTED, self._share_parameters)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._average_gradients)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._average_values)

    def _share_parameters(self, engine: Engine) -> None:
        for tensor in [*self.loss.parameters(), *self.loss.buffers()]:
            distributed.broadcast(tensor.detach(), src=0)

    def _average_gradients(self, engine: Engine) -> None:
        parameters = [parameter for parameter in self.loss.parameters() if parameter.requires_grad]
        if not parameters:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        used = gradients[0].new_tensor([p.grad is not None for p in parameters])
        # One message for all; a parameter that no process used keeps no gradient, and the optimiser leaves it alone.
        *averages, used_by = _averages([*gradients, used])
        for parameter, average, share in zip(parameters, averages, used_by.tolist(), strict=True):
            parameter.grad = average if share > 0 else None

    def _average_values(self, engine: Engine) -> None:
        state: Any = engine.state  # Ignite types an output as an int; here it is a list with a dict for each item
        terms: dict[str, Tensor] = getattr(self.loss, "terms", {})
        own = torch.tensor(float(state.output[0]["loss"]), device=state.device)
        loss, *values = _averages([own, *terms.values()])
        for item in state.output:
            item["loss"] = float(loss)
        terms.update(zip(terms, values, strict=True))


def _averages(tensors: list[Tensor]) -> list[Tensor]:
    """The means of tensors over all processes."""
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    parts = (flat / distributed.get_world_size()).split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
