"""Training of a network's parts one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from .resume import BestMetric


class StagedTraining:
    """Ignite handler that trains one stage of a network after the other and freezes the other parts meanwhile.

    A frozen part keeps its parameters and its running statistics: it works as in evaluation. No gradient passes
    through it, so that a generator does not learn to please a segmentor that is not trained yet. The last stage may
    name all parts, which then train jointly. The stage follows from the epoch alone, so that a resumed training run
    continues in the right one.

    Each stage has a learning-rate schedule of its own: it starts at the initial learning rate. A schedule over one
    stage, such as a cosine, would otherwise leave a learning rate of 0 to the next.

    Args:
        network: the network.
        stages: for each stage the names of the submodules to train, such as ``[["generator"], ["segmentor"]]``.
        epochs: epochs of each stage.
        best_metric: the best validation so far, which each stage forgets: what an untrained segmentor scores by chance
            says nothing of the stages before.
        lr_scheduler: the schedule to start again in each stage, as it was made; None to let it run on.

    Raises:
        ValueError: there is no stage, or the network has no submodule of a name.
    """

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Sequence[str]],
        epochs: int,
        best_metric: BestMetric | None = None,
        lr_scheduler: LRScheduler | None = None,
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
        self.lr_scheduler = lr_scheduler
        if lr_scheduler is not None:
            self._schedule = deepcopy(lr_scheduler.state_dict())
            self._learning_rates = [group["lr"] for group in lr_scheduler.optimizer.param_groups]
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
        if engine.state.epoch in range(1, self.epochs * len(self.stages) + 1, self.epochs):
            self._begin_stage()
        trained = self.stages[self.stage_of(engine.state.epoch)]
        self.network.requires_grad_(False)
        for part in trained:
            part.requires_grad_(True)
        for parameter in self.network.parameters():
            if not parameter.requires_grad:
                parameter.grad = None  # with a gradient of zero an optimizer would continue with its momentum
        moving = {module for part in trained for module in part.modules()}
        for module in self.network.modules():
            if module not in moving:
                # The engine sets the whole network to training before each step; this sets the part back.
                self._hooks.append(module.register_forward_pre_hook(_set_to_evaluation))
                if moving.isdisjoint(module.modules()):
                    self._hooks.append(module.register_forward_pre_hook(_detach))

    def _begin_stage(self) -> None:
        if self.best_metric is not None:
            self.best_metric.forget()
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(deepcopy(self._schedule))
            groups = self.lr_scheduler.optimizer.param_groups
            for group, learning_rate in zip(groups, self._learning_rates, strict=True):
                group["lr"] = learning_rate

    def _release(self, engine: Engine) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _set_to_evaluation(module: nn.Module, inputs: Any) -> None:
    module.training = False


def _detach(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(item.detach() if isinstance(item, Tensor) else item for item in inputs)
