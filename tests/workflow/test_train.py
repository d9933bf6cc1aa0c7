import json

import numpy as np
import pytest
import torch
from ignite.engine import Events

from scripts.io.errors import DatasetError
from scripts.networks import TrainingOutputs


def state(path):
    return torch.load(path, weights_only=True)


def same(first, second):
    """Whether two nested states are equal, bit for bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def test_train_config_has_what_monai_asks_for(workflow):
    training = workflow("train")
    assert training.check_properties() == []


def test_training_writes_the_best_and_the_last_checkpoint(workflow, dataset_dir):
    workflow("train", epochs=2).run()
    best, last = state(dataset_dir / "models" / "model.pt"), state(dataset_dir / "models" / "checkpoint_last.pt")
    assert sorted(last) == ["best_metric", "loss", "lr_scheduler", "model", "optimizer", "trainer"]
    assert last["trainer"]["iteration"] == 2 * 3  # nine slices in batches of four
    assert best.keys() == last["model"].keys()
    assert list((dataset_dir / "eval").glob("events*"))


def test_an_interrupted_training_ends_with_the_same_bits(workflow, dataset_dir):
    workflow("train", epochs=3, ckpt_dir=str(dataset_dir / "whole")).run()

    interrupted = workflow("train", epochs=3, ckpt_dir=str(dataset_dir / "parts"))
    trainer = interrupted.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop_in_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    assert state(dataset_dir / "parts" / "checkpoint_last.pt")["trainer"]["iteration"] == 3

    workflow("train", epochs=3, ckpt_dir=str(dataset_dir / "parts"), resume=True).run()
    for name in ("checkpoint_last.pt", "model.pt"):
        assert same(state(dataset_dir / "whole" / name), state(dataset_dir / "parts" / name)), name


def stop_in_second_epoch(engine):
    if engine.state.iteration == 5:
        raise KeyboardInterrupt("as a user would")


def test_the_number_of_workers_does_not_change_the_weights(workflow, dataset_dir):
    for workers in (0, 2):
        workflow("train", num_workers=workers, ckpt_dir=str(dataset_dir / f"workers{workers}")).run()
    assert same(
        state(dataset_dir / "workers0" / "checkpoint_last.pt"), state(dataset_dir / "workers2" / "checkpoint_last.pt")
    )


def test_every_slice_once_an_epoch(workflow):
    training = workflow("train")
    sampler = training.parser.get_parsed_content("train#sampler")
    epochs = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert [sorted(index for _, index in epoch) for epoch in epochs] == [list(range(9))] * 2
    assert [index for _, index in epochs[0]] != [index for _, index in epochs[1]]


def test_a_slice_has_what_the_loss_needs(workflow):
    dataset = workflow("train").parser.get_parsed_content("train#dataset")
    item = dataset[(1, 0)]
    assert item["image"].shape == (11, 32, 32)
    assert item["label"].shape == item["dwi"].shape == item["attention"].shape == (1, 32, 32)
    assert set(np.unique(item["label"])) <= {0, 1}
    assert [bool(dataset[(1, i)]["has_dwi"]) for i in (0, 3, 6)] == [True, False, True]


def test_training_goes_without_any_dwi_as_monai_label_gives_it(workflow, dataset_dir):
    sections = json.loads((dataset_dir / "datalist.json").read_text())
    cases = [{key: str(dataset_dir / case[key]) for key in ("image", "label")} for case in sections["training"]]
    training = workflow("train", **{"train#dataset#data": cases[:2], "validate#dataset#data": cases[2:]})
    training.run()
    assert all(
        torch.isfinite(value).all() for value in state(dataset_dir / "models" / "checkpoint_last.pt")["model"].values()
    )


def test_the_published_widths_take_a_step(workflow):
    training = workflow("train", "paper", features=[64, 128, 256, 512, 1024], batch_size=1)
    parser = training.parser
    assert isinstance(parser.get_parsed_content("optimizer"), torch.optim.RMSprop)
    network, loss = TrainingOutputs(parser.get_parsed_content("network")), parser.get_parsed_content("loss_function")
    image, targets = parser.get_parsed_content("train#trainer").prepare_batch(
        next(iter(parser.get_parsed_content("train#dataloader"))), torch.device("cpu")
    )
    before = loss(network(image), targets)
    before.backward()
    parser.get_parsed_content("optimizer").step()
    assert torch.isfinite(loss(network(image), targets))


def test_a_training_case_without_label_is_named(workflow, dataset_dir):
    sections = json.loads((dataset_dir / "datalist.json").read_text())
    del sections["training"][1]["label"]
    (dataset_dir / "datalist.json").write_text(json.dumps(sections))
    with pytest.raises(RuntimeError) as caught:
        workflow("train").run()
    assert "case 'case_1': expected a label to train on, got none" in chain(caught.value)


def test_an_empty_section_is_one_clear_error(workflow, dataset_dir):
    (dataset_dir / "datalist.json").write_text(json.dumps({"training": [], "validation": [], "testing": []}))
    with pytest.raises(RuntimeError) as caught:
        workflow("train").run()
    assert "expected a list of cases in section 'training', got an empty one" in chain(caught.value)
    assert not (dataset_dir / "models").exists()


def chain(error):
    """The messages of an exception and of what caused it."""
    messages = []
    while error is not None:
        messages.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    assert any(message.startswith((DatasetError.__name__, "ValueError", "CaseError")) for message in messages)
    return "\n".join(messages)


def test_training_starts_from_pretrained_weights_of_another_image_size(workflow, dataset_dir):
    workflow("train", ckpt_dir=str(dataset_dir / "coarse")).run()
    pretrained = dataset_dir / "coarse" / "model.pt"
    workflow("train", pretrained=str(pretrained), image_size=64, learning_rate=0.0, epochs=1).run()
    before, after = state(pretrained), state(dataset_dir / "models" / "checkpoint_last.pt")["model"]
    weights = [name for name in before if name.endswith("weight") and before[name].ndim == 4]
    assert len(weights) > 50
    assert all(torch.equal(before[name], after[name]) for name in weights)


def test_a_run_shorter_than_the_interval_of_validation_saves_a_model(workflow, dataset_dir):
    workflow("train", epochs=1, val_interval=2).run()
    assert (dataset_dir / "models" / "model.pt").is_file()
