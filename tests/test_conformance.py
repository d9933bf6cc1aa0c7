"""What a MONAI bundle must be, for the model zoo, for MONAI Label and for its own users."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import torch
from monai.bundle import ConfigParser

from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.json"))
WORKFLOWS = ("train", "evaluate", "inference")
SHARED_KEYS = [
    "bundle_root",
    "dataset_dir",
    "datalist",
    "output_dir",
    "ckpt_dir",
    "ckpt_path",
    "device",
    "amp",
    "features",
] + ["image_size", "batch_size", "cache_rate", "num_workers", "network_def", "network"]
MAX_BYTES = 25 * 1024 * 1024


def content(name):
    return json.loads((ROOT / "configs" / f"{name}.json").read_text(encoding="utf-8"))


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


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_is_json_indented_by_four(path):
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=4) + "\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_imports_nothing_of_the_bundle(path):
    # MONAI puts the bundle on the path only in `run`: an import of it would fail from another directory.
    assert not [text for text in strings(json.loads(path.read_text())) if re.search(r"^\$.*\bscripts\b", text)]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
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


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_the_keys_that_people_override(name):
    assert set(SHARED_KEYS) <= content(name).keys()


@pytest.mark.parametrize(
    "key",
    [*SHARED_KEYS[:3], "device", "features", "image_size", "channels", "network_def", "network", "inferer"],
)
def test_the_workflows_agree(key):
    assert content("train")[key] == content("evaluate")[key] == content("inference")[key]


def test_training_validates_as_evaluation_evaluates():
    validate, evaluate = content("train")["validate"], content("evaluate")
    assert validate["preprocessing"] == evaluate["preprocessing"] == content("inference")["preprocessing"]
    postprocessing = json.dumps(validate["postprocessing"]).replace("@validate#preprocessing", "@preprocessing")
    assert json.loads(postprocessing) == evaluate["postprocessing"] == content("inference")["postprocessing"]


def test_training_has_what_monai_label_reaches_for():
    train = content("train")
    assert isinstance(train["train"]["handlers"], list)
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


def test_the_network_can_be_scripted_with_the_weights_that_ship():
    network = ConfigParser(content("inference")).get_parsed_content("network_def")
    network.load_state_dict(torch.load(ROOT / "models" / "model.pt", weights_only=True), strict=True)
    network.eval()
    image = torch.rand(1, 11, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(image), network(image), atol=1e-4, rtol=1e-4)


def test_every_file_of_the_bundle_is_small_enough_for_the_zoo():
    for folder in ("configs", "docs", "models", "scripts"):
        for path in (ROOT / folder).rglob("*"):
            assert not path.is_file() or path.stat().st_size <= MAX_BYTES, path


def test_the_pinned_versions_are_the_metadata_s():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    metadata = content("metadata")
    assert metadata["monai_version"] == pins["monai"]
    assert metadata["pytorch_version"] == pins["torch"]
    assert metadata["numpy_version"] == pins["numpy"]
    for name, version in metadata["required_packages_version"].items():
        assert pins[name] == version, name


def test_nothing_loads_what_it_should_not_trust():
    forbidden = re.compile(r"\b(pickle|eval\(|exec\(|weights_only=False|os\.system|shell=True|urllib|requests\.)")
    for folder in ("scripts", "bundle"):
        for path in (ROOT / folder).rglob("*.py"):
            found = [line for line in path.read_text().splitlines() if forbidden.search(line.replace(".eval()", ""))]
            assert not found, f"{path}: {found}"
