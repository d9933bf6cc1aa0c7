"""The last checkpoint of a training, from which it goes on as if it had never stopped."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.handlers import CheckpointSaver

from ..io.atomic import atomic_path

logger = logging.getLogger(__name__)


class BestMetric:
    """The best validation so far, as a part of a checkpoint.

    Without it a resumed training would take its first validation for the best and overwrite a better model.

    Args:
        evaluator: the engine of the validation.
        saver: the saver of the best model, attached to ``evaluator``.
        filename: the file that ``saver`` writes.
    """

    def __init__(self, evaluator: Engine, saver: CheckpointSaver, filename: str = "model.pt"):
        self.evaluator = evaluator
        self.saver = saver
        self.filename = filename

    def state_dict(self) -> dict[str, float | int]:
        """Return the best value of the key metric and its epoch."""
        state: Any = self.evaluator.state  # MONAI adds the attributes of a workflow to Ignite's state
        return {"best_metric": float(state.best_metric), "best_metric_epoch": int(state.best_metric_epoch)}

    def load_state_dict(self, state_dict: Mapping[str, float | int]) -> None:
        """Restore both, for the evaluator and for the saver."""
        state: Any = self.evaluator.state
        state.best_metric = state_dict["best_metric"]
        state.best_metric_epoch = state_dict["best_metric_epoch"]
        saved = [(state_dict["best_metric"], self.filename)] if state_dict["best_metric_epoch"] >= 0 else []
        # Ignite documents the first name of this entry and asks for the second.
        self.saver.load_state_dict({"saved": saved, "_saved": saved})

    def forget(self) -> None:
        """Begin anew: the next validation is the best."""
        self.load_state_dict({"best_metric": -1.0, "best_metric_epoch": -1})


class LastCheckpoint:
    """Ignite handler that saves the whole state of a training after every epoch, and restores it.

    MONAI's ``CheckpointSaver`` removes the previous file before it writes the next, so that an interruption in between
    loses both; here the new file takes the place of the old one when it is complete.

    Attach it after the handlers that validate and that change the learning rate.

    Args:
        path: the checkpoint's file.
        objects: name -> object with ``state_dict`` and ``load_state_dict``; its values are tensors and plain numbers.
            An engine among them gives its epoch and iteration.
        resume: whether to start from ``path`` where it exists.
    """

    def __init__(self, path: str | os.PathLike[str], objects: Mapping[str, Any], resume: bool = False):
        self.path = Path(path)
        self.objects = dict(objects)
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the training."""
        engine.add_event_handler(Events.STARTED, self._restore)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        state: Any = engine.state
        if state.rank == 0:
            states = {name: _plain(item.state_dict()) for name, item in {**self.objects, "trainer": engine}.items()}
            with atomic_path(self.path) as temporary:
                torch.save(states, temporary)

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
        logger.info("resumed from %s after epoch %d", self.path, engine.state.epoch)


def _plain(state: Any) -> Any:
    """Turn ordered dicts into dicts, so that the file holds nothing but plain containers."""
    return {key: _plain(value) for key, value in state.items()} if isinstance(state, Mapping) else state
