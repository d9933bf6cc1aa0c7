import pytest
import torch
from ignite.engine import Engine
from torch import nn

from scripts.networks import StrokeLesionNet
from scripts.workflow import StagedTraining

PARTS = ("extractor", "generator", "segmentor")


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


def test_a_training_in_stages_from_the_config(workflow):
    arguments = {
        "network_def#detached": ["high_level_feature", "pseudo_dwi"],
        "stages": [["extractor"], ["generator"], ["segmentor"]],
        "epochs": 1,
    }
    training = workflow("train", **arguments)
    training.run()
    trainer = training.parser.get_parsed_content("train#trainer")
    assert trainer.state.epoch == 3
    network = training.parser.get_parsed_content("network")
    assert {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad} == {"segmentor"}


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
