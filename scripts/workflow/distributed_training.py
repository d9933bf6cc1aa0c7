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


class SynchronizedTraining:
    """Ignite handler that does for a training in several processes what ``DistributedDataParallel`` leaves open.

    - It averages the gradients of the loss, which has a trained context encoder. In a step where a process has no DWI
      it does not use the encoder, and a second ``DistributedDataParallel`` would wait for its gradients for ever.
    - It makes the values that handlers log means over the processes.
    - It gives all processes the running statistics of the first before they validate, so that every case is scored by
      the network that is saved.

    Attach it before the handlers that validate and log.

    Args:
        network: the network inside ``DistributedDataParallel``.
        loss: the loss; its ``terms``, where it has them, are those that are logged.
    """

    def __init__(self, network: nn.Module, loss: nn.Module):
        self.network = network
        self.loss = loss

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the training."""
        engine.add_event_handler(Events.STARTED, self._share_loss)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._average_gradients)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._average_values)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._share_statistics)

    def _share_loss(self, engine: Engine) -> None:
        for tensor in [*self.loss.parameters(), *self.loss.buffers()]:
            distributed.broadcast(tensor.detach(), src=0)

    def _share_statistics(self, engine: Engine) -> None:
        for buffer in self.network.buffers():
            distributed.broadcast(buffer, src=0)

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
