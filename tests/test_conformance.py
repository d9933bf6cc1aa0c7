"""What a MONAI bundle must be, for the model zoo, for MONAI Label and for its own users.

What can be said of any bundle, `python -m bundle verify` checks: see `tests/bundle/test_verify.py`.
"""

from __future__ import annotations

import csv
import json
import re
import tomllib

import nibabel as nib
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from tests.conftest import ROOT, config_files
from tests.test_experiments import ROWS

CONFIGS = sorted((ROOT / "configs").glob("**/*.json"))
WORKFLOWS = {
    "train": ["train"],
    "train, several processes": ["train", "multi_gpu_train"],
    "train as published": ["train", "paper"],
    "evaluate": ["evaluate"],
    "evaluate, several processes": ["evaluate", "multi_gpu_evaluate"],
    "inference": ["inference"],
    **{row: ["train", f"experiments/{row}"] for row in ROWS},
}
"""The config files of everything that runs, each to be put after its base."""
EVERYWHERE = ["bundle_root", "dataset_dir", "datalist", "output_dir", "ckpt_dir", "device", "amp", "features"] + [
    *("image_size", "channels", "dt_s", "orientation", "mirror", "min_lesion_ml", "num_workers"),
    *("network_def", "network", "inferer"),
]
OVERRIDDEN = {
    "train": [*EVERYWHERE, "last_path", "epochs", "batch_size", "learning_rate", "seed", "cache_rate", "val_interval"],
    "evaluate": [*EVERYWHERE, "ckpt_path", "section", "computed_maps"],
    "inference": [*EVERYWHERE, "ckpt_path", "section", "image", "overwrite"],
}
RUN_IDS = {"imports", "initialize", "run", "training", "finalize"}


def content(name):
    return json.loads((ROOT / "configs" / f"{name}.json").read_text(encoding="utf-8"))


def merged(*names):
    """Configs as MONAI merges them, each after its base."""
    return ConfigParser.load_config_files(config_files(*names))


def strings(item):
    """Every string in a nested config."""
    if isinstance(item, dict):
        for value in item.values():
            yield from strings(value)
    elif isinstance(item, list):
        for value in item:
            yield from strings(value)
    elif isinstance(item, str):
        yield item


def keys_without_effect(config):
    """The keys of values and expressions that nothing in the config refers to; programs look for some components."""
    used = {name for text in strings(config) for name in re.findall(r"[@%](\w+)", text)} | RUN_IDS | {"description"}
    values = {key for key, value in config.items() if not isinstance(value, dict) and "_target_" not in str(value)}
    return values - used


@pytest.mark.parametrize("names", WORKFLOWS.values(), ids=WORKFLOWS)
def test_no_key_is_without_effect(names):
    assert keys_without_effect(merged(*names)) == set()


def test_a_key_without_effect_is_found():
    config = {"a": 1, "b": "$@a + 1", "c": "%d#e", "d": {"e": "@c"}, "f": [1, 2], "run": ["$@c"]}
    assert keys_without_effect(config) == {"b", "f"}


@pytest.mark.parametrize("config", ["evaluate", "multi_gpu_train", "multi_gpu_evaluate", "paper", "inference_trt"])
def test_an_overlay_repeats_nothing_of_its_base(config):
    base = "inference" if config == "inference_trt" else "evaluate" if config == "multi_gpu_evaluate" else "train"
    overlay, below = content(config), merged(base)
    assert not {key for key in overlay if key[0] != "+" and "#" not in key and below.get(key) == overlay[key]} - {
        "batch_size"
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_imports_nothing_of_the_bundle(path):
    # MONAI puts the bundle on the path only in `run`: an import of it would fail from another directory.
    assert not [text for text in strings(json.loads(path.read_text())) if re.search(r"^\$.*\bscripts\b", text)]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_component_that_a_config_names_exists(path):
    from monai.bundle.config_item import ComponentLocator
    from monai.utils import optional_import

    locator = ComponentLocator()

    def targets(item):
        if isinstance(item, dict):
            if "_target_" in item:
                yield item["_target_"]
            for value in item.values():
                yield from targets(value)
        elif isinstance(item, list):
            for value in item:
                yield from targets(value)

    for target in targets(json.loads(path.read_text())):
        if "." not in target:
            assert locator.get_component_module_name(target), target
        else:
            module, name = target.rsplit(".", 1)
            assert optional_import(module, name=name)[1], target


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_workflow_has_the_keys_that_people_override(name):
    assert set(OVERRIDDEN[name]) <= merged(name).keys()


def test_inference_is_as_evaluation():
    """``inference.json`` stands alone, since MONAI Label reads it alone; what it shares with the others is the same."""
    inference, evaluation = content("inference"), merged("evaluate")
    alike = {*EVERYWHERE, "section", "ckpt_path", "imports", "checkpoint_loader"} - {"mirror", "min_lesion_ml"}
    assert {key for key in alike if inference[key] != evaluation[key]} == set()
    shown = inference["displayable_configs"]
    assert {key: evaluation[key] for key in ("mirror", "min_lesion_ml")} == {
        key: shown[inference[key].removeprefix("@displayable_configs#")] for key in ("mirror", "min_lesion_ml")
    }
    for key in ("preprocessing", "postprocessing"):
        shared = json.dumps(evaluation["validate"][key]).replace("@validate#preprocessing", "@preprocessing")
        own = {"times": "@times"} if key == "preprocessing" else {}  # the file of one series' frame times
        assert inference[key] == json.loads(shared) | own, key


def test_evaluation_measures_as_training_validates():
    train, evaluation = merged("train")["validate"], merged("evaluate")["validate"]
    for key in ("preprocessing", "inferer", "postprocessing", "evaluator"):
        assert train[key] == evaluation[key]


def test_training_has_what_monai_label_reaches_for():
    train = content("train")
    assert all(isinstance(handler, dict) for handler in train["train"]["handlers"])  # a name would have no `get`
    assert "max_epochs" in train["train"]["trainer"]
    assert "data" in train["train"]["dataset"]
    assert "data" in train["validate"]["dataset"]
    assert {"run", "training"} <= train.keys()


def test_the_version_is_one_and_in_the_changelog():
    metadata = content("metadata")
    version = metadata["version"]
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in metadata["changelog"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    assert all(int(part) < 10 for part in version.split("."))


def test_the_network_does_what_the_metadata_say():
    formats = content("metadata")["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    for channels in (image, pred):
        assert sorted(map(int, channels["channel_def"])) == list(range(channels["num_channels"]))
        assert all(isinstance(text, str) for text in channels["channel_def"].values())
    parser = ConfigParser(content("inference"))
    network = parser.get_parsed_content("network_def").eval()
    with torch.inference_mode():
        output = network(torch.rand(1, image["num_channels"], 48, 80))
    assert output.shape == (1, pred["num_channels"], 48, 80)
    assert str(output.dtype) == f"torch.{pred['dtype']}"


def test_nothing_loads_what_it_should_not_trust():
    loading = r"pickle|eval\(|exec\(|weights_only=False|os\.system|shell=True"
    network = r"|urllib\.|requests\."
    doors = {"dicom/web.py", "dicom/node/web_peer.py"}  # they ask a server that the user names
    for folder in ("scripts", "bundle"):
        for path in (ROOT / folder).rglob("*.py"):
            asks = path.relative_to(ROOT / folder).as_posix() in doors
            forbidden = re.compile(rf"\b({loading}{'' if asks else network})")
            found = [line for line in path.read_text().splitlines() if forbidden.search(line.replace(".eval()", ""))]
            assert not found, f"{path}: {found}"


def dice_by_case(path):
    with path.open() as stream:
        return {row["case"]: float(row["dice"]) for row in csv.DictReader(stream)}


def test_train_evaluate_and_infer_as_the_zoo_tests_a_bundle(workflow, dataset_dir):
    """The three workflows one after the other; each has its properties, and they agree about the numbers."""
    settings = {"epochs": 3, "min_lesion_ml": 0, "learning_rate": 0.01}
    training = workflow("train", **settings)
    assert training.check_properties() == []
    losses = []
    trainer = training.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
    training.run()
    validation = training.parser.get_parsed_content("validate#evaluator").state
    assert losses[-1] < losses[0]

    evaluation = workflow("evaluate", min_lesion_ml=0, section="validation")
    assert evaluation.check_properties() == []
    evaluation.run()
    dice = dice_by_case(dataset_dir / "eval" / "metrics.csv")
    assert dice == pytest.approx({"case_3": validation.best_metric}, abs=1e-5)

    inference = workflow("inference", workflow_type="infer", min_lesion_ml=0, section="validation")
    assert inference.check_properties() == []
    inference.run()
    lesion = nib.load(dataset_dir / "eval" / "case_3" / "case_3_lesion.nii.gz").get_fdata() > 0
    label = nib.load(dataset_dir / "case_3" / "label.nii").get_fdata() > 0
    assert 2 * (lesion & label).sum() / (lesion.sum() + label.sum()) == pytest.approx(dice["case_3"], abs=1e-5)
