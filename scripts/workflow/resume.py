"""The last checkpoint of a training run, from which it resumes, and the best weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from ..io.atomic import atomic_path

logger = logging.getLogger(__name__)


class BestMetric:
    """The best validation so far, as a part of the last checkpoint.

    Without it a resumed training run would take its first validation for the best and overwrite a better model.

    Args:
        evaluator: the engine of the validation.
    """

    def __init__(self, evaluator: Engine):
        self.evaluator = evaluator

    def state_dict(self) -> dict[str, float | int]:
        """Return the best value of the key metric and its epoch."""
        state: Any = self.evaluator.state  # MONAI adds the attributes of a workflow to Ignite's state
        return {"best_metric": float(state.best_metric), "best_metric_epoch": int(state.best_metric_epoch)}

    def load_state_dict(self, state_dict: Mapping[str, float | int]) -> None:
        """Restore both."""
        state: Any = self.evaluator.state
        state.best_metric = state_dict["best_metric"]
        state.best_metric_epoch = state_dict["best_metric_epoch"]

    def forget(self) -> None:
        """Begin anew: the next validation is the best."""
        self.load_state_dict({"best_metric": -1.0, "best_metric_epoch": -1})


class LastCheckpoint:
    """Ignite handler that saves the whole state of a training run after every epoch, and restores it.

    Two files, each replaced when the new one is complete: first the last state, then, if the epoch is the best so far,
    the best weights, which the last state contains. After a kill at any moment the best weights can be restored from
    the last state, and a resumed run ends with the same bytes in both files as one that never stopped. MONAI's
    ``CheckpointSaver`` is not used: it removes the previous file before it writes the next.

    Attach it after the handlers that validate and that change the learning rate.

    Args:
        path: the file of the last state.
        objects: name -> object with ``state_dict`` and ``load_state_dict``; its values are tensors and plain numbers.
            An engine among them gives its epoch and iteration.
        best_path: the file of the best weights, those of ``model`` among the objects in the epoch that ``best_metric``,
            a :class:`BestMetric` among them, says; None to save none.
        resume: whether to start from ``path`` where it exists.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        objects: Mapping[str, Any],
        best_path: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ):
        self.path = Path(path)
        self.objects = dict(objects)
        self.best_path = None if best_path is None else Path(best_path)
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
            self._save_best(states, state.epoch)

    def _save_best(self, states: Mapping[str, Any], epoch: int) -> None:
        if self.best_path is not None and states["best_metric"]["best_metric_epoch"] == epoch:
            save_states(states["model"], self.best_path)

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
        if state.rank == 0:
            self._save_best(states, state.epoch)  # a kill may have come between the two files
        logger.info("resumed from %s after epoch %d", self.path, engine.state.epoch)


def save_states(states: Mapping[str, Any], path: Path) -> None:
    """Write states as ``torch.save`` does, atomically; the bytes do not depend on the name of the file."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        torch.save(states, stream)


def _plain(state: Any) -> Any:
    """Turn ordered dicts into dicts, so that the file holds nothing but plain containers."""
    return {key: _plain(value) for key, value in state.items()} if isinstance(state, Mapping) else state
