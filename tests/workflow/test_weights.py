"""Weights are what they claim to be, or are refused in a line that names the file."""

import json
import re
import shutil

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser

from scripts import networks
from scripts.io.errors import CaseError, WeightsError
from scripts.io.origin import sha256
from scripts.networks import StrokeLesionNet
from scripts.transforms import SplitPredictiond
from scripts.workflow.weights import RetireRecord, check_record, read_weights
from tests.conftest import ROOT
from tests.robustness.checkpoints import flipped, hostile, one_nan, saved
from tests.workflow.test_options import command

SHIPPED = ROOT / "models" / "model.pt"


def network():
    torch.manual_seed(0)
    return StrokeLesionNet((2, 2, 4, 4, 4))


EXPECTED = {
    **dict.fromkeys(["empty", "text", "a byte", "half", "no end", "damaged record"], "got a file that cannot be read"),
    **dict.fromkeys(["packed", "code", "legacy code"], "got a file that cannot be read"),
    "a list": "expected the state of a network",
    "NaN": "got NaN or infinity in '.*weight'",
    "infinite": "got NaN or infinity in",
    "zeros": "got 0 everywhere in",
    "constant": "got 0.01 everywhere in",
    "of another width": "are 'features' those of the weights",
    "without a key": "without 1 keys such as",
    "huge by strides": "expected '.*' of shape",
}


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_bad_checkpoint_is_one_line_that_names_it(fault, tmp_path):
    path = tmp_path / "own.pt"
    path.write_bytes(hostile(network().state_dict(), tmp_path / "mark")[fault])
    with pytest.raises(WeightsError, match=EXPECTED[fault]) as caught:
        read_weights(path, network())
    assert str(caught.value).startswith(f"weights '{path}': ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mark").exists()


def test_every_flipped_bit_is_noticed_or_changes_nothing(tmp_path):
    """CRC-32 finds each single error within a record; outside, it is in names, times and padding."""
    state, path = network().state_dict(), tmp_path / "own.pt"
    content = saved(state)
    noticed = 0
    for place in range(0, len(content), len(content) // 30):
        path.write_bytes(flipped(content, place, place % 8))
        try:
            found = read_weights(path, network())
        except WeightsError:
            noticed += 1
        else:
            assert all(torch.equal(found[name], state[name]) for name in state)
    assert noticed > 10


@pytest.mark.parametrize("wrapped", [False, True])
def test_good_weights_are_read(wrapped, tmp_path):
    state = network().state_dict()
    torch.save({"model": state, "epoch": 3} if wrapped else state, tmp_path / "own.pt")
    found = read_weights(tmp_path / "own.pt", network())
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("name", ["StrokeLesionNet", "SLNet", "UNet", "FCN", "R2UNet", "ResUNet", "PSPNet"])
def test_no_network_begins_with_what_is_refused(name, tmp_path):
    arguments = {} if name == "StrokeLesionNet" else {"in_channels": 11, "out_channels": 2}
    made = getattr(networks, name)(**arguments)
    torch.save(made.state_dict(), tmp_path / "own.pt")
    read_weights(tmp_path / "own.pt", made)


def test_the_shipped_weights_are_the_recorded_ones():
    check_record(SHIPPED)
    parser = ConfigParser(ConfigParser.load_config_file(ROOT / "configs" / "inference.json"))
    read_weights(SHIPPED, parser.get_parsed_content("network_def"))


def test_a_shipped_file_that_changed_names_both_hashes_and_the_way_on(tmp_path):
    shutil.copy(ROOT / "models" / "provenance.json", tmp_path)
    torch.save(network().state_dict(), tmp_path / "model.pt")
    recorded = json.loads((ROOT / "models" / "provenance.json").read_text())["weights"]["sha256"]
    with pytest.raises(WeightsError, match=f"expected SHA-256 {recorded}.*got {sha256(tmp_path / 'model.pt')}"):
        read_weights(tmp_path / "model.pt", network())
    (tmp_path / "model.pt").rename(tmp_path / "own.pt")
    read_weights(tmp_path / "own.pt", network())  # weights that do not claim to be the shipped ones


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"weights": 3}', '{"weights": {"file": 3, "sha256": ""}}'])
def test_a_record_that_is_damaged_is_named(record, tmp_path):
    (tmp_path / "provenance.json").write_text(record)
    with pytest.raises(WeightsError, match=re.escape(str(tmp_path / "provenance.json"))):
        check_record(tmp_path / "model.pt")


def test_a_training_that_replaces_the_shipped_weights_sets_their_record_aside(tmp_path):
    for name in ("model.pt", "provenance.json"):
        shutil.copy(ROOT / "models" / name, tmp_path)
    trainer = Engine(lambda engine, batch: None)
    trainer.state.rank = 0
    RetireRecord(tmp_path / "model.pt").attach(trainer)
    trainer.run([0], max_epochs=1)
    assert (tmp_path / "provenance.json").exists()  # nothing was replaced

    torch.save(network().state_dict(), tmp_path / "model.pt")
    trainer.run([0], max_epochs=2)
    assert not (tmp_path / "provenance.json").exists()
    assert (tmp_path / "provenance.replaced.json").exists()
    read_weights(tmp_path / "model.pt", network())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_output_that_is_not_finite_is_no_lesion_of_0_ml(value):
    prediction = torch.zeros(3, 4, 4, 2)
    prediction[1, 2, 3, 0] = value
    with pytest.raises(CaseError, match="case 'case_7', pred: expected finite output of the network, got 1 NaN"):
        SplitPredictiond()({"case": "case_7", "pred": prediction})


def test_a_training_that_diverges_stops_and_keeps_the_epoch_before(workflow, dataset_dir):
    training = workflow("train", epochs=3)
    trainer = training.parser.get_parsed_content("train#trainer")
    network = training.parser.get_parsed_content("network")

    def damage(engine):
        if engine.state.epoch == 2:
            next(iter(network.parameters())).data[0] = float("nan")

    trainer.add_event_handler("EPOCH_STARTED", damage)
    with pytest.raises(
        FloatingPointError, match=r"epoch 2, iteration 4: .*the loss is nan; '.*checkpoint_last.pt' keeps epoch 1"
    ):
        trainer.run()
    last = torch.load(dataset_dir / "models" / "checkpoint_last.pt", weights_only=True)
    assert last["trainer"]["iteration"] == 3
    for state in (last["model"], torch.load(dataset_dir / "models" / "model.pt", weights_only=True)):
        assert all(torch.isfinite(value).all() for value in state.values())


def test_weights_that_diverge_in_the_last_step_of_an_epoch_are_not_saved(workflow, dataset_dir):
    training = workflow("train", epochs=1)
    trainer = training.parser.get_parsed_content("train#trainer")
    network = training.parser.get_parsed_content("network")
    trainer.optimizer.register_step_post_hook(
        lambda *_: next(iter(network.parameters())).data.fill_(float("nan")) if trainer.state.iteration == 3 else None
    )
    with pytest.raises(FloatingPointError, match="holds NaN or infinity; nothing is saved"):
        trainer.run()
    assert not (dataset_dir / "models" / "checkpoint_last.pt").exists()


def test_a_nan_in_the_weights_ends_the_command_in_one_line(dataset_dir):
    torch.save(one_nan(torch.load(SHIPPED, weights_only=True)), dataset_dir / "own.pt")
    options = ["--dataset_dir", str(dataset_dir), "--ckpt_path", str(dataset_dir / "own.pt")]
    code, lines = command(dataset_dir, *options, "--output_dir", str(dataset_dir / "eval"), "--device", "cpu")
    assert code == 1
    assert lines[-1].startswith(f"error: weights '{dataset_dir / 'own.pt'}': expected finite values, got NaN")
    assert not list(dataset_dir.rglob("cases.csv"))
