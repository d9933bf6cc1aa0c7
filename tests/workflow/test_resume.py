"""Kills at every point of the saving of a training run, and what resuming makes of it."""

import shutil
import signal
from functools import partial

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanAbsoluteError, ValidationHandler, from_engine
from torch import nn

from scripts.workflow import BestMetric, LastCheckpoint
from tests.faults import full_disk, needs_fork, points_of, run_until

EPOCHS = 3
FILES = ("checkpoint_last.pt", "model.pt")


class WorseAndBetter(MeanAbsoluteError):
    """The key metric of epoch 1, 2, 3 is 0.2, 0.6, 0.4: the first two epochs are each the best so far."""

    epoch = 0

    def compute(self):
        return [0.2, 0.6, 0.4][self.epoch]


def train(folder, resume=False):
    """A linear network on four numbers for three epochs, with the bundle's handlers."""
    torch.manual_seed(0)
    network = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    batches = [{"image": torch.tensor([[1.0, 2.0]]), "label": torch.tensor([[3.0]])}] * 2
    metric = WorseAndBetter(output_transform=from_engine(["pred", "label"]))
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=batches, network=network, key_val_metric={"score": metric}
    )
    best = BestMetric(evaluator)
    objects = {"model": network, "optimizer": optimizer, "best_metric": best}
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=EPOCHS,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        train_handlers=[
            ValidationHandler(1, evaluator),
            LastCheckpoint(folder / "checkpoint_last.pt", objects, folder / "model.pt", resume),
        ],
    )
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: setattr(metric, "epoch", engine.state.epoch - 1))
    trainer.run()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def whole(tmp_path):
    """What a run that nobody stopped leaves."""
    folder = tmp_path / "whole"
    train(folder)
    return contents(folder)


def test_the_best_weights_are_those_of_the_best_epoch(whole, tmp_path):
    assert sorted(whole) == sorted(FILES)
    last = torch.load(tmp_path / "whole" / "checkpoint_last.pt", weights_only=True)
    best = torch.load(tmp_path / "whole" / "model.pt", weights_only=True)
    assert last["best_metric"] == {"best_metric": 0.6, "best_metric_epoch": 2}
    assert not torch.equal(best["weight"], last["model"]["weight"])  # the last epoch was the third


@pytest.mark.slow
@needs_fork
def test_a_kill_at_any_point_and_a_resume_end_with_the_same_bytes(whole, tmp_path):
    points = points_of(partial(train, tmp_path / "counted"))
    assert points.count("torch.save half") == EPOCHS + 2
    assert points.count("os.replace before") == EPOCHS + 2
    for point, name in enumerate(points):
        folder = tmp_path / str(point)
        assert run_until(point, partial(train, folder)) == -signal.SIGKILL, name
        for file in FILES:  # old or new, never a part
            if (folder / file).exists():
                torch.load(folder / file, weights_only=True)
        train(folder, resume=True)
        assert contents(folder) == whole, (point, name)


@needs_fork
def test_a_disk_that_is_full_in_any_save_loses_nothing(whole, tmp_path):
    points = points_of(partial(train, tmp_path / "counted"))
    for point in [point for point, name in enumerate(points) if name == "torch.save half"]:
        folder = tmp_path / str(point)
        assert run_until(point, partial(train, folder), full_disk) == 1
        assert all(name in FILES for name in contents(folder))  # nothing hidden stays: the process cleaned up
        train(folder, resume=True)
        assert contents(folder) == whole, point


@pytest.mark.slow
@needs_fork
def test_a_kill_while_resuming_loses_nothing_either(whole, tmp_path):
    points = points_of(partial(train, tmp_path / "counted"))
    between = [i for i, name in enumerate(points) if name == "os.replace after"][
        2
    ]  # checkpoint_last.pt of epoch 2, not model.pt
    started = tmp_path / "started"
    assert run_until(between, partial(train, started)) == -signal.SIGKILL
    counted = shutil.copytree(started, tmp_path / "counted again")
    for point in range(len(points_of(partial(train, counted, resume=True)))):
        folder = shutil.copytree(started, tmp_path / f"resumed{point}")
        assert run_until(point, partial(train, folder, resume=True)) == -signal.SIGKILL
        train(folder, resume=True)
        assert contents(folder) == whole, point


@pytest.mark.slow
@needs_fork
def test_the_config_s_training_survives_a_kill_in_the_middle_of_each_save(workflow, dataset_dir):
    def training(folder, **overrides):
        return workflow("train", epochs=2, ckpt_dir=str(dataset_dir / folder), **overrides)

    training("whole").run()
    expected = contents(dataset_dir / "whole")
    prepared = training("counted")
    points = points_of(prepared.run)
    halves = [point for point, name in enumerate(points) if name == "torch.save half"]
    assert len(halves) >= 3  # two epochs, of which at least the first is the best so far
    for point in halves:
        folder = f"killed{point}"
        assert run_until(point, training(folder).run) == -signal.SIGKILL
        training(folder, resume=True).run()
        assert contents(dataset_dir / folder) == expected
