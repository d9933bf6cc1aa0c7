"""What a user, a file's name or a request puts into a config is checked before MONAI evaluates it."""

import os
import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from scripts.io.errors import OptionError
from scripts.workflow.options import TEXT_KEYS, check_options, check_value
from tests.conftest import ROOT, SMALL, config_files

HOSTILE = "$__import__('os').system('touch run') and 0 or 'x.nii'"


def command(folder, *options, config="inference"):
    """Run MONAI's command in a folder; the exit code and the lines of its output."""
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(ROOT / "configs" / f"{config}.json")]
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, *options], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stderr.strip().splitlines()


def checked(config, **overrides):
    """Check a config of the bundle as its first step does, with overrides as MONAI takes them."""
    parser = ConfigParser(ConfigParser.load_config_files(config_files(config)))
    parser.update(overrides)
    parser["run"] = [{"_target_": "scripts.workflow.options.check_options"}]
    parser.parse()
    try:
        parser.get_parsed_content("run#0")
    except RuntimeError as error:
        raise error.__cause__ from None


def test_an_expression_for_a_file_s_name_does_not_run_and_the_last_line_says_so(tmp_path):
    code, lines = command(tmp_path, "--image", HOSTILE)
    assert code == 1
    assert lines[-1].startswith(f"error: image: expected a plain path, got {HOSTILE!r}")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_command_line_changes_opens_no_other_file(tmp_path):
    (tmp_path / "a").write_text("another file")  # what Fire makes of a#b.nii
    _, lines = command(tmp_path, "--image", "a#b.nii")
    assert lines[-1].startswith("error: image: expected a plain path, got 'a#b.nii'")


@pytest.mark.parametrize("config", ["train", "evaluate", "inference"])
@pytest.mark.parametrize("key", ["datalist", "dataset_dir", "output_dir", "ckpt_dir", "ckpt_path", "bundle_root"])
def test_no_path_is_an_expression(config, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=f"^{key}: expected a plain path, got"):
        checked(config, **{key: HOSTILE})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a#b.nii", "a::b.nii", "@device", "@x.nii", "$x", "$import os"])
def test_a_path_that_monai_would_change_is_refused(name):
    if name != "@device":  # a reference to a key, which configs have; typed at a command line it is refused too
        with pytest.raises(OptionError, match="image: expected a plain path"):
            check_value("image", name)
    with pytest.raises(OptionError, match="train#dataset#data: expected a plain path"):
        checked("train", **{"train#dataset#data": [{"image": name, "label": "label.nii"}]})


@given(st.text(st.characters(exclude_characters="#$@%:", exclude_categories=["Cs"]), min_size=1))
def test_any_other_path_is_taken(name):
    check_value("image", name)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("imgae", "x.nii", "did you mean 'image'"),
        ("mirorr", False, "did you mean 'mirror'"),
        ("min_lesion", 3, "did you mean 'min_lesion_ml'"),
        ("mirror", "maybe", "expected True or False, got 'maybe'"),
        ("mirror", "false", "expected True or False, got 'false'"),
        ("amp", 2, "expected True or False"),
        ("min_lesion_ml", -1, "expected a volume in ml, 0 or more, got -1"),
        ("min_lesion_ml", float("nan"), "expected a volume in ml"),
        ("dt_s", "abc", "expected a time in s above 0"),
        ("dt_s", 0, "expected a time in s above 0"),
        ("features", [16, 0], "expected a list of whole numbers"),
        ("num_workers", 1.5, "expected a whole number"),
        ("image", 7, "expected a path or a name, got 7"),
        ("displayable_configs#mirror", "maybe", "mirror: expected True or False"),
        ("displayable_configs#cbf", HOSTILE, "cbf: expected a plain path"),
        ("device", HOSTILE, "device: expected a device such as cpu"),
        ("device", "gpu", "device: expected a device such as cpu"),
    ],
)
def test_a_mistake_is_one_clear_line(key, value, expected):
    with pytest.raises(OptionError, match=expected) as caught:
        checked("inference", **{key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [-1, 0, 1.5, "3", True])
def test_epochs_are_counted(value):
    with pytest.raises(OptionError, match="epochs: expected a whole number of at least 1"):
        checked("train", epochs=value) if value is not True else check_value("epochs", value)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "$torch.device('cuda:1')", '$torch.device("cpu")'])
def test_a_device_may_be_written_as_monai_s_users_do(device):
    check_value("device", device)


def test_a_request_to_train_is_not_evaluated_as_a_device(workflow, tmp_path, monkeypatch):
    """What MONAI Label's server makes of the body of ``/train``: overrides of the config."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        workflow("train", device=HOSTILE).run()
    assert "device: expected a device such as cpu" in str(caught.value.__cause__)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train#trainer#max_epochs", HOSTILE),
        ("train#trainer#max_epochs", "3"),
        *((key, HOSTILE) for key in ("tracking_uri", "experiment_name", "run_name")),
    ],
)
def test_what_else_monai_label_takes_from_a_request_is_plain(key, value):
    with pytest.raises(OptionError, match=f"^{key}: expected a "):
        checked("train", **{key: value})


def test_a_request_to_train_as_monai_label_hands_it_on_passes():
    handlers = [{"_target_": "CheckpointLoader", "load_path": "m.pt", "load_dict": {"model": "$@network"}}]
    content = ConfigParser.load_config_file(ROOT / "configs" / "train.json")
    cases = [{"image": "/studies/a.nii.gz", "label": "/studies/labels/final/a.nii.gz"}]
    checked(
        "train",
        **{
            "bundle_root": "/app/model/ctp_stroke_lesion_segmentation",
            "train#trainer#max_epochs": 1,
            "train#dataset#data": cases,
            "validate#dataset#data": cases,
            "device": "cpu",
            "train#handlers": [*handlers, *content["train"]["handlers"]],
            "tracking_uri": "http://[::1]:5000",
            "experiment_name": "ctp_stroke_lesion_segmentation",
        },
    )


@pytest.mark.parametrize("settings", ["mlflow", str(ROOT / "configs" / "mlflow.json")])
def test_tracking_passes(settings, dataset_dir):
    content = ConfigParser.load_config_files(DEFAULT_EXP_MGMT_SETTINGS[settings] if settings == "mlflow" else settings)
    parser = ConfigParser(ConfigParser.load_config_file(ROOT / "configs" / "train.json"))
    parser["output_dir"] = str(dataset_dir)
    ConfigWorkflow.patch_bundle_tracking(parser, content)
    parser.parse()
    parser.get_parsed_content("run#0")


@pytest.mark.parametrize(
    "names",
    [["train"], ["train", "multi_gpu_train"], ["evaluate"], ["evaluate", "multi_gpu_evaluate"], ["inference"]],
)
def test_the_bundle_s_own_configs_pass(names):
    content = ConfigParser.load_config_files(config_files(*names))
    parser = ConfigParser({**content, **SMALL, "dataset_dir": "/data/my cases", "pretrained": ""})
    parser.parse()
    parser.get_parsed_content("run#0")


def test_an_overlay_alone_is_refused_with_the_command_that_works(tmp_path):
    code, lines = command(tmp_path, config="evaluate")
    assert code == 1
    assert lines[-1].startswith("error: config_file: expected an overlay after its base, such as --config_file ")
    assert "\"['configs/train.json','configs/evaluate.json']\", got a config without bundle_root, " in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_keys_of_a_config_on_top_are_known_where_something_refers_to_them():
    checked("train", width=8, features="$[@width] * 5")
    with pytest.raises(OptionError, match="widht: expected a key of the config"):
        checked("train", widht=8)


def test_without_a_config_there_is_nothing_to_check():
    with pytest.raises(RuntimeError, match="expected a call by monai.bundle.ConfigParser"):
        check_options()


def test_the_first_step_of_every_workflow_is_the_check():
    for config, steps in [("train", "run"), ("train", "training"), ("evaluate", "run"), ("inference", "run")]:
        content = ConfigParser.load_config_file(ROOT / "configs" / f"{config}.json")
        assert content[steps][0] == {"_target_": "scripts.workflow.options.check_options"}


def test_every_key_that_names_a_file_in_a_config_is_one_of_text():
    for config in ("train", "evaluate", "inference", "inference_trt"):
        content = ConfigParser.load_config_file(ROOT / "configs" / f"{config}.json")
        assert {key for key in content if key.endswith(("_dir", "_path", "_root"))} <= set(TEXT_KEYS)


def test_a_bad_case_is_the_last_line(tmp_path):
    name = "no such.nii"
    code, lines = command(tmp_path, *shlex.split(f"--image '{name}'"))
    assert (code, lines[-1]) == (1, f"error: case 'no such', image '{name}': expected a file, got nothing there")
