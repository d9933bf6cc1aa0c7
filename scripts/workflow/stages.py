"""Training of a network's parts one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from .resume import BestMetric


class StagedTraining:
    """Ignite handler that trains one stage of a network after the other and freezes the rest meanwhile.

    A frozen part keeps its parameters and its running statistics: it works as in evaluation. Which stage it is follows
    from the epoch alone, so that a resumed training goes on in the right one. A network whose parts see each other's
    gradients must keep these apart itself, as :class:`scripts.networks.StrokeLesionNet` does with ``detached``.

    Args:
        network: the network.
        stages: for each stage the names of the submodules to train, such as ``[["generator"], ["segmentor"]]``.
        epochs: epochs of each stage.
        best_metric: the best validation so far, which each stage forgets: what an untrained segmentor scores by chance
            says nothing of the stages before.

    Raises:
        ValueError: there is no stage, or the network has no submodule of a name.
    """

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Sequence[str]],
        epochs: int,
        best_metric: BestMetric | None = None,
    ):
        if len(stages) == 0:
            raise ValueError("stages: expected at least one list of submodules to train, got none")
        self.epochs = epochs
        missing = sorted({name for names in stages for name in names} - dict(network.named_modules()).keys())
        if missing:
            raise ValueError(f"stages: expected submodules of {type(network).__name__}, got {missing}")
        self.stages = [[network.get_submodule(name) for name in names] for names in stages]
        self.network = network
        self.best_metric = best_metric
        self._hooks: list[Any] = []

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the training."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._enter)
        engine.add_event_handler(Events.COMPLETED, self._release)

    def stage_of(self, epoch: int) -> int:
        """The stage, from 0, of an epoch, from 1."""
        return min((epoch - 1) // self.epochs, len(self.stages) - 1)

    def _enter(self, engine: Engine) -> None:
        self._release(engine)
        if self.best_metric is not None and engine.state.epoch in range(1, self.epochs * len(self.stages), self.epochs):
            self.best_metric.forget()
        trained = self.stages[self.stage_of(engine.state.epoch)]
        self.network.requires_grad_(False)
        for part in trained:
            part.requires_grad_(True)
        for parameter in self.network.parameters():
            if not parameter.requires_grad:
                parameter.grad = None  # an optimiser would go on with its momentum where the gradient is zero
        moving = {module for part in trained for module in part.modules()}
        for module in self.network.modules():
            if module not in moving:
                # The engine sets the whole network to training before each step; this sets the part back.
                self._hooks.append(module.register_forward_pre_hook(_set_to_evaluation))

    def _release(self, engine: Engine) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _set_to_evaluation(module: nn.Module, inputs: Any) -> None:
    module.training = False
