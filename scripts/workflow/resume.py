"""The last checkpoint of a training run, from which it resumes, and the best weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from ..io.atomic import atomic_path

logger = logging.getLogger(__name__)


class BestMetric:
    """The best validation so far: a part of the last checkpoint, and the file of its weights.

    Without it a resumed training run would take its first validation for the best and overwrite a better model. The
    file is written by :class:`LastCheckpoint`, after its own, so that a kill between the two is mended on resume.
    MONAI's ``CheckpointSaver`` is not used: it removes the previous file before it writes the next.

    Args:
        evaluator: the engine of the validation.
        network: the network that it validates.
        path: the file of the best weights.
    """

    def __init__(self, evaluator: Engine, network: nn.Module, path: str | os.PathLike[str]):
        self.evaluator = evaluator
        self.network = network
        self.path = Path(path)

    def state_dict(self) -> dict[str, float | int]:
        """Return the best value of the key metric and its epoch."""
        state: Any = self.evaluator.state  # MONAI adds the attributes of a workflow to Ignite's state
        return {"best_metric": float(state.best_metric), "best_metric_epoch": int(state.best_metric_epoch)}

    def load_state_dict(self, state_dict: Mapping[str, float | int]) -> None:
        """Restore both for the evaluator."""
        state: Any = self.evaluator.state
        state.best_metric = state_dict["best_metric"]
        state.best_metric_epoch = state_dict["best_metric_epoch"]

    def forget(self) -> None:
        """Begin anew: the next validation is the best."""
        self.load_state_dict({"best_metric": -1.0, "best_metric_epoch": -1})

    def save_weights_of(self, epoch: int) -> None:
        """Write the weights if the best validation is that of ``epoch``, which the network's are of."""
        if self.state_dict()["best_metric_epoch"] == epoch:
            save_states(_plain(self.network.state_dict()), self.path)


class LastCheckpoint:
    """Ignite handler that saves the whole state of a training after every epoch, and restores it.

    Two files, each replaced when the new one is complete: first the last state, then, if the epoch is the best so far,
    the best weights, which the last state contains. After a kill at any moment the best weights can be restored from
    the last state, and a resumed run ends with the same bytes in both files as one that never stopped.

    Attach it after the handlers that validate and that change the learning rate.

    Args:
        path: the checkpoint's file.
        objects: name -> object with ``state_dict`` and ``load_state_dict``; its values are tensors and plain numbers.
            An engine among them gives its epoch and iteration.
        best_metric: one of them, whose weights are to be saved.
        resume: whether to start from ``path`` where it exists.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        objects: Mapping[str, Any],
        best_metric: BestMetric | None = None,
        resume: bool = False,
    ):
        self.path = Path(path)
        self.objects = dict(objects)
        self.best_metric = best_metric
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the training."""
        engine.add_event_handler(Events.STARTED, self._restore)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        state: Any = engine.state
        if state.rank == 0:
            states = {name: _plain(item.state_dict()) for name, item in {**self.objects, "trainer": engine}.items()}
            save_states(states, self.path)
            self._save_best(engine)

    def _save_best(self, engine: Engine) -> None:
        state: Any = engine.state
        if self.best_metric is not None and state.rank == 0:
            self.best_metric.save_weights_of(state.epoch)

    def _restore(self, engine: Engine) -> None:
        if not self.resume:
            return
        if not self.path.exists():
            logger.info("nothing to resume from at %s: the training starts anew", self.path)
            return
        state: Any = engine.state
        states = torch.load(self.path, map_location=state.device, weights_only=True)
        missing = sorted(self.objects.keys() - states.keys())
        if missing:
            raise ValueError(f"checkpoint '{self.path}': expected the states of {missing}, got {sorted(states)}")
        for name, item in self.objects.items():
            item.load_state_dict(states[name])
        max_epochs = engine.state.max_epochs
        engine.load_state_dict(states["trainer"])
        engine.state.max_epochs = max_epochs
        self._save_best(engine)  # a kill may have come between the two files
        logger.info("resumed from %s after epoch %d", self.path, engine.state.epoch)


def save_states(states: Mapping[str, Any], path: Path) -> None:
    """Write states as ``torch.save`` does, atomically; the bytes do not depend on the name of the file."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        torch.save(states, stream)


def _plain(state: Any) -> Any:
    """Turn ordered dicts into dicts, so that the file holds nothing but plain containers."""
    return {key: _plain(value) for key, value in state.items()} if isinstance(state, Mapping) else state
