"""The bundle in MONAI's federated client, without any framework around it."""

import pytest
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, WeightType
from monai.fl.utils.exchange_object import ExchangeObject

from tests.conftest import ROOT, SMALL
from tests.workflow.test_train import same, state


@pytest.fixture
def site(dataset_dir):
    """A function that gives a client whose epochs are of two rounds."""

    def make(**options):
        paths = {key: str(dataset_dir / "site" / key) for key in ("ckpt_dir", "output_dir")}
        overrides = {**SMALL, **paths, "dataset_dir": str(dataset_dir), "epochs": 2}
        client = MonaiAlgo(
            bundle_root=str(ROOT),
            train_kwargs=dict(overrides),
            eval_kwargs=dict(overrides),
            **{"config_evaluate_filename": "configs/train.json", **options},
        )
        client.initialize({ExtraItems.CLIENT_NAME: "site"})
        return client

    return make


@pytest.fixture
def initial(workflow):
    network = workflow("train").parser.get_parsed_content("network")
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_one_site_alone_learns_what_a_plain_training_does(site, initial, workflow, dataset_dir):
    client, weights = site(send_weight_diff=False), initial
    for _ in range(2):
        client.train(ExchangeObject(weights=weights))
        weights = {name: tensor.clone() for name, tensor in client.get_weights().weights.items()}
    workflow("train", epochs=2).run()
    assert same(weights, dict(state(dataset_dir / "models" / "checkpoint_last.pt")["model"]))


def test_a_site_sends_what_its_weights_have_changed_by(site, initial):
    client = site()
    client.train(ExchangeObject(weights=initial))
    sent = client.get_weights()
    assert sent.weight_type == WeightType.WEIGHT_DIFF
    assert sent.weights.keys() == initial.keys()  # the network's alone: the loss's context encoder stays
    for name, trained in client.trainer.network.state_dict().items():
        torch.testing.assert_close(initial[name] + sent.weights[name], trained)


@pytest.mark.parametrize(("files", "section"), [("configs/train.json", "validation"), ("default", "testing")])
def test_a_site_scores_the_weights_that_it_is_sent(files, section, site, initial, workflow, dataset_dir):
    weights = {**initial, "segmentor.output.bias": torch.tensor([0.0, 5.0])}  # most is lesion
    # The default is MONAI's: evaluate.json over train.json, whose weights the client leaves where they are.
    metrics = site(config_evaluate_filename=files).evaluate(ExchangeObject(weights=weights)).metrics
    torch.save(weights, dataset_dir / "sent.pt")
    evaluation = workflow("evaluate", section=section, ckpt_path=str(dataset_dir / "sent.pt"))
    evaluation.run()
    expected = evaluation.parser.get_parsed_content("validate#evaluator").state.metrics["val_mean_dice"]
    assert expected > 0
    assert metrics["val_mean_dice"] == pytest.approx(expected, abs=1e-6)


def test_a_client_with_the_shipped_file_names_alone_evaluates(dataset_dir, initial):
    """MONAI's defaults: it trains with train.json, and evaluates with evaluate.json merged into that."""
    paths = {key: str(dataset_dir / "site" / key) for key in ("ckpt_dir", "output_dir")}
    overrides = {**SMALL, **paths, "dataset_dir": str(dataset_dir)}
    client = MonaiAlgo(bundle_root=str(ROOT), train_kwargs=dict(overrides), eval_kwargs=dict(overrides))
    client.initialize({ExtraItems.CLIENT_NAME: "site"})
    metrics = client.evaluate(ExchangeObject(weights=initial)).metrics
    assert 0 <= metrics["val_mean_dice"] <= 1
