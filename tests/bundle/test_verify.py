"""Each check of `python -m bundle verify` passes here, and fails on a bundle that is broken in just that way."""

import json
import shutil
import sys

import jsonschema
import pytest

from bundle import verify as verify_command
from bundle.__main__ import main
from bundle.verify import checks
from bundle.verify.probe import SCHEMA, run_probe
from tests.bundle.copied_bundle import copy_bundle, edit_json
from tests.conftest import ROOT


@pytest.fixture
def root(tmp_path):
    return copy_bundle(tmp_path / "bundle")


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_this_bundle_passes_every_check(monkeypatch, capsys):
    """All but those of MONAI, which `tests/docs/test_how_to.py` runs by the command of the page."""
    monkeypatch.setattr(verify_command, "run_probe", lambda root, online: {})
    assert main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("ok ") for line in lines)


@pytest.mark.parametrize("name", checks.REQUIRED)
@pytest.mark.parametrize("content", [None, "", "\n"], ids=["missing", "empty", "blank"])
def test_a_file_that_must_be_there(root, name, content):
    assert name in checks.check_required(root)
    (root / name).unlink()
    if content is not None:
        (root / name).write_text(content)
    with pytest.raises(ValueError, match=f"expected files that are not empty, got none at {name}$"):
        checks.check_required(root)


def test_config_names(root):
    (root / "configs" / "Train2.JSON").write_text("{}")
    with pytest.raises(ValueError, match="expected lower_case.json, .yaml or .conf, got Train2.JSON"):
        checks.check_config_names(root)
    (root / "configs" / "evaluate.json").rename(root / "configs" / "test.json")
    with pytest.raises(ValueError, match="expected evaluate.json"):
        checks.check_config_names(root)


def test_file_sizes(root):
    with (root / "docs" / "large.bin").open("wb") as stream:
        stream.truncate(25_000_000)
    assert "with 25.0 MB" in checks.check_sizes(root)
    with (root / "docs" / "large.bin").open("ab") as stream:
        stream.write(b"1")
    with pytest.raises(ValueError, match=r"expected at most 25,000,000 bytes, got docs/large.bin \(25,000,001 bytes\)"):
        checks.check_sizes(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "a": 1\n}\n', "expected JSON indented by 4"),
        ('{\n    "a": 1\n}', "expected JSON indented by 4"),
        ('{\n    "a": 1,\n    "a": 1\n}\n', "no key twice"),
        ('{\n    "a": 1,\n}\n', "paper.json: expected JSON, got"),
    ],
)
def test_json_format(root, text, message):
    (root / "configs" / "paper.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        checks.check_json_format(root)


def test_the_version_is_in_the_changelog_and_new(root, tmp_path):
    metadata = root / "configs" / "metadata.json"
    now = json.loads(metadata.read_text())["version"]
    info = tmp_path / "model_info.json"
    info.write_text(json.dumps({"ctp_stroke_lesion_segmentation_v0.0.1": {}}))
    assert checks.check_version(root, info).startswith(now)
    info.write_text(json.dumps({f"ctp_stroke_lesion_segmentation_v{now}": {}}))
    with pytest.raises(ValueError, match=f"expected a new version, got {now}, which model_info.json has already"):
        checks.check_version(root, info)
    edit_json(metadata, version="0.9.9")
    with pytest.raises(ValueError, match="expected version 0.9.9 in the changelog"):
        checks.check_version(root)


@pytest.mark.parametrize("section", checks.SECTIONS)
def test_a_section_of_the_model_card(root, section):
    page = root / "docs" / "README.md"
    lines = page.read_text().splitlines()
    (heading,) = [i for i, line in enumerate(lines) if line.lstrip("# ") == section and line.startswith("#")]
    page.write_text("\n".join(lines[:heading] + lines[heading + 1 :]))
    with pytest.raises(ValueError, match=r"expected the sections Model Overview, Data, .* each once; got"):
        checks.check_model_card(root)


def test_sections_in_another_order_or_empty(root):
    page = root / "docs" / "README.md"
    page.write_text("\n".join(f"## {section}\ntext" for section in reversed(checks.SECTIONS)))
    with pytest.raises(ValueError, match="expected the sections"):
        checks.check_model_card(root)
    page.write_text("\n".join(f"## {section}\n{'text' * (section != 'Input')}" for section in checks.SECTIONS))
    with pytest.raises(ValueError, match="got none in Input$"):
        checks.check_model_card(root)
    page.write_text("```\n# Data\n```\n" + "\n".join(f"# {section}\n\ntext" for section in checks.SECTIONS))
    assert checks.check_model_card(root) == "11 sections"


def test_pins_are_those_of_the_constraints_and_of_this_environment(root):
    assert checks.check_pins(root) == f"{len(checks.pins(root))} packages, as installed"
    shutil.copy(ROOT / "constraints.txt", root)
    assert checks.check_pins(root).endswith("as installed and in constraints.txt")
    rewrite(root / "constraints.txt", f"scikit-image=={checks.pins(root)['scikit-image']}", "scikit_image==0.1.0")
    with pytest.raises(ValueError, match=r"scikit-image [\d.]+ \(constraints.txt: 0.1.0\)"):
        checks.check_pins(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pytorch_version": "1.0.0"}, r"expected the tested versions, got torch 1.0.0 \(installed: "),
        ({"optional_packages_version": {"no-such-package": "1.0"}}, r"no-such-package 1.0 \(installed: None\)"),
        ({"monai_version": ">=1.6"}, r"got monai >=1.6 \(installed: "),
        ({"numpy_version": ...}, r"got numpy None \(installed: "),
        ({"required_packages_version": ["nibabel"]}, "dictionary update"),
    ],
)
def test_pins_that_nobody_tested(root, change, message):
    edit_json(root / "configs" / "metadata.json", **change)
    with pytest.raises(ValueError, match=message):
        checks.check_pins(root)


def test_pins_that_the_index_has_not(root, monkeypatch):
    """Pip itself is asked, here about an index that has nothing."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ValueError, match=r"expected pip to find monai==.*, got ERROR: .*monai=="):
        checks.check_index(root)


def test_metadata_meet_the_schema():
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(json.loads((ROOT / "configs" / "metadata.json").read_text()), schema)


IMAGE, PRED = "network_data_format#inputs#image", "network_data_format#outputs#pred"


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, ...) for key in json.loads(SCHEMA.read_text())["required"]]
    + [
        ("version", "first"),
        ("version", "0.10.0"),  # cannot be ordered as text
        ("version", "1.0"),
        ("version", "v1.0.0"),
        ("version", 1),
        ("monai_version", ">=1.6"),
        ("required_packages_version", ["nibabel"]),
        ("changelog", []),
        ("required_packages_version#itk", 5.4),
        ("eval_metrics", {"dice": "good"}),
        ("references", "a paper"),
        (IMAGE, ...),
        (PRED, ...),
        (f"{IMAGE}#num_channels", "11"),
        (f"{IMAGE}#spatial_shape", ["16*m"]),
        (f"{IMAGE}#spatial_shape", [0, 16]),
        (f"{IMAGE}#dtype", "float"),
        (f"{IMAGE}#value_range", [0]),
        (f"{IMAGE}#is_patch_data", "false"),
        (f"{IMAGE}#channel_def#0", 0),
        (f"{PRED}#channel_def", {"lesion": "1"}),
        (f"{PRED}#format", ...),
    ],
)
def test_metadata_that_do_not_meet_the_schema(root, key, value):
    edit_json(root / "configs" / "metadata.json", **{key: value})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            json.loads((root / "configs" / "metadata.json").read_text()), json.loads(SCHEMA.read_text())
        )


@pytest.mark.slow
def test_monai_s_checks_tell_what_is_wrong(root):
    """One bundle that is broken in three ways, since a process of MONAI's takes its time; it runs its own code."""
    edit_json(root / "configs" / "metadata.json", task=...)
    edit_json(root / "configs" / "inference.json", evaluator=...)
    with (root / "scripts" / "networks" / "__init__.py").open("a") as stream:
        stream.write("StrokeLesionNet.forward = lambda self, image: self.synthesize(image).logits[:, :1]\n")
    found = run_probe(root)
    assert "'task' is a required property" in found["metadata"]
    assert "evaluator" in found["properties"]
    assert "output channel number `1` doesn't match: `2`" in found["network in and out"]
    assert "output channel number `1` doesn't match: `2`" in found["network in and out, --any"]
    assert found["TorchScript"]


def test_a_process_that_dies_is_a_failure(root, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert run_probe(root) == {"MONAI's checks": "expected a report, got nothing"}


def test_a_failure_is_in_the_table_and_in_the_exit_status(root, monkeypatch, capsys):
    monkeypatch.setattr(verify_command, "run_probe", lambda root, online: {"metadata": "", "TorchScript": "no weights"})
    (root / "LICENSE").unlink()
    assert main(["verify", "--bundle-dir", str(root)]) == 2
    printed = capsys.readouterr()
    assert "FAILED  required files            expected files that are not empty, got none at LICENSE\n" in printed.out
    assert "FAILED  TorchScript               no weights\n" in printed.out
    assert printed.err == f"error: 2 of the checks of '{root}' failed: required files, TorchScript\n"
    assert main(["verify", "--bundle-dir", str(root / "none")]) == 2
    assert "expected a bundle, got no folder" in capsys.readouterr().err
