"""A training that has diverged is stopped before it saves what it has become."""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn


class StopAtDivergence:
    """Ignite handler that stops a training at a loss, or at the end of an epoch at weights, that are not finite.

    Attach it before the handlers that validate and save: the files are then those of the epoch before.

    Args:
        network: the network that is trained.
        last_path: where the training saves its state, for the message.

    Raises:
        FloatingPointError: a loss or a weight is NaN or infinite.
    """

    def __init__(self, network: nn.Module, last_path: str | os.PathLike[str]):
        self.network = network
        self.last_path = last_path

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the training."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._check_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_weights)

    def _check_loss(self, engine: Engine) -> None:
        state: Any = engine.state  # Ignite types an output as an int; here it is a list with a dict for each item
        loss = float(state.output[0]["loss"])
        if not math.isfinite(loss):
            raise self._diverged(engine, f"the loss is {loss}")

    def _check_weights(self, engine: Engine) -> None:
        for name, tensor in self.network.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise self._diverged(engine, f"'{name}' holds NaN or infinity")

    def _diverged(self, engine: Engine, what: str) -> FloatingPointError:
        before = engine.state.epoch - 1
        kept = f"'{self.last_path}' keeps epoch {before}" if before else "nothing is saved"
        return FloatingPointError(
            f"training, epoch {engine.state.epoch}, iteration {engine.state.iteration}: expected finite values, got "
            f"another: {what}; {kept}; go on from there with a lower learning_rate"
        )
