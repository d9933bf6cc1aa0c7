import math

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from scripts.networks import StrokeLesionNet
from scripts.workflow import StagedTraining
from tests.workflow.test_train import same
from tests.workflow.test_train import state as saved

PARTS = ("extractor", "generator", "segmentor")
STAGED = {"stages": [["extractor", "generator"], ["segmentor"], [*PARTS]], "epochs": 2, "learning_rate": 0.01}
"""Options of `configs/train.json`: a pseudo-DWI first, then a segmentor on it, then both jointly."""


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network, before):
    """The parts of which any parameter or running statistic differs."""
    after = network.state_dict()
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_each_stage_changes_its_part_alone():
    torch.manual_seed(0)
    network = StrokeLesionNet((2, 4), detached=("high_level_feature", "pseudo_dwi"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    seen = []

    def step(engine, image):
        network.train()  # as MONAI's trainer does
        optimizer.zero_grad(set_to_none=False)
        sum(output.square().mean() for output in network.synthesize(image)).backward()
        optimizer.step()

    trainer = Engine(step)
    StagedTraining(network, [[part] for part in PARTS], epochs=2).attach(trainer)
    before = state(network)

    def look(engine):
        seen.append(changed(network, before))
        before.update(state(network))

    trainer.add_event_handler("EPOCH_COMPLETED", look)
    trainer.run([torch.rand(2, 11, 16, 16)] * 2, max_epochs=7)
    assert seen == [{part} for part in ("extractor",) * 2 + ("generator",) * 2 + ("segmentor",) * 3]


def test_a_resumed_training_is_in_the_stage_of_its_epoch():
    stages = StagedTraining(StrokeLesionNet((2, 4)), [["extractor", "generator"], ["segmentor"]], epochs=3)
    assert [stages.stage_of(epoch) for epoch in (1, 3, 4, 6, 7)] == [0, 0, 1, 1, 1]


def test_what_is_no_part_of_the_network_is_named():
    with pytest.raises(ValueError, match="submodules of Linear, got .'generator'."):
        StagedTraining(nn.Linear(1, 1), [["generator"]], epochs=1)
    with pytest.raises(ValueError, match="at least one list of submodules"):
        StagedTraining(nn.Linear(1, 1), [], epochs=1)


def test_the_best_model_is_that_of_the_last_stage(workflow, dataset_dir, monkeypatch):
    scores = iter([0.9, 0.8, 0.1, 0.2])
    arguments = {"network_def#detached": ["pseudo_dwi"], "stages": [["generator"], ["segmentor"]], "epochs": 2}
    training = workflow("train", **arguments)
    content = training.parser.get_parsed_content
    monkeypatch.setattr("monai.handlers.MeanDice.compute", lambda self: next(scores))
    training.run()
    assert content("validate#evaluator").state.best_metric == 0.2
    saved = torch.load(dataset_dir / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in content("network").state_dict().items())


def test_no_gradient_passes_through_a_frozen_part():
    network = StrokeLesionNet((2, 4))
    image = torch.rand(2, 11, 16, 16)
    trainer = Engine(lambda engine, batch: None)
    StagedTraining(network, [["generator"], PARTS], epochs=1).attach(trainer)
    reached = []

    @trainer.on(Events.EPOCH_COMPLETED)
    def look(engine):
        output = network.synthesize(image)
        pseudo_dwi = torch.autograd.grad(output.pseudo_dwi.sum(), network.generator.output.bias, retain_graph=True)[0]
        assert pseudo_dwi.abs().sum() > 0  # its own loss trains it
        reached.append(output.logits.requires_grad)

    trainer.run([0], max_epochs=2)
    assert reached == [False, True]


def test_the_options_of_the_config_train_a_pseudo_dwi_then_a_segmentor_then_both(workflow):
    training = workflow("train", **STAGED)
    content = training.parser.get_parsed_content
    trainer, network, optimizer = content("train#trainer"), content("network"), content("optimizer")
    before, seen, rates = {}, [], []

    @trainer.on(Events.EPOCH_STARTED)
    def start(engine):
        before.update(state(network))
        rates.append(optimizer.param_groups[0]["lr"])

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: seen.append(changed(network, before)))
    training.run()
    assert seen == [{"extractor", "generator"}] * 2 + [{"segmentor"}] * 2 + [set(PARTS)] * 2
    cosine = [0.01 * (1 + math.cos(math.pi * epoch / 2)) / 2 for epoch in range(2)]
    assert rates == pytest.approx(cosine * 3)


@pytest.mark.parametrize("epochs", [1, 5])
def test_a_step_schedule_starts_again_in_each_stage(epochs):
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    optimizer = torch.optim.RMSprop(network.parameters(), lr=0.002)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=min(3, epochs), gamma=0.2)
    trainer = Engine(lambda engine, batch: optimizer.step())
    StagedTraining(network, [["0"], ["1"]], epochs=epochs, lr_scheduler=scheduler).attach(trainer)
    rates = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: rates.append(optimizer.param_groups[0]["lr"]))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: scheduler.step())
    trainer.run([0], max_epochs=2 * epochs)
    assert rates == pytest.approx([0.002, 0.002, 0.002, 0.0004, 0.0004][:epochs] * 2)


def test_an_interrupted_staged_training_ends_with_the_same_bits(workflow, dataset_dir):
    options = {**STAGED, "stages": STAGED["stages"][:2]}

    def training(folder, **others):
        return workflow("train", **options, ckpt_dir=str(dataset_dir / folder), **others)

    training("whole").run()
    for epoch in (2, 3):  # within a stage, and between two
        interrupted = training("parts", resume=epoch > 2)
        stop = interrupted.parser.get_parsed_content("train#trainer").terminate
        event = Events.EPOCH_STARTED(once=epoch)
        interrupted.parser.get_parsed_content("train#trainer").add_event_handler(event, stop)
        interrupted.run()
        assert saved(dataset_dir / "parts" / "checkpoint_last.pt")["trainer"]["iteration"] == 3 * (epoch - 1)
    training("parts", resume=True).run()
    for name in ("checkpoint_last.pt", "model.pt"):
        assert same(saved(dataset_dir / "whole" / name), saved(dataset_dir / "parts" / name)), name
