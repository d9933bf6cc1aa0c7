"""What MONAI Label does with the config, step by step; ``make test-monailabel`` asks the real server."""

import os
import sys
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import torch
from fastapi import HTTPException
from monai.bundle import ConfigParser

from scripts.io.errors import CaseError
from scripts.transforms import LoadCased
from scripts.workflow import monai_label, training_dir
from scripts.workflow.monai_label import MonaiLabelCase, check_options
from tests.conftest import ROOT, SMALL


class Task:
    """The steps of ``monailabel.tasks.infer.bundle.BundleInferTask``, without its server and writer."""

    def __init__(self, **overrides):
        self.config = ConfigParser()
        self.config.read_config(ROOT / "configs" / "inference.json")
        self.config.config.update({"bundle_root": str(ROOT), **SMALL, **overrides})
        self.options = self.config.get_parsed_content("displayable_configs")

    def __call__(self, mode="eval", without=None, **request):
        data = {**self.options, "model": "bundle", "description": "text", **request}
        self.config["displayable_configs"].update({key: data[key] for key in self.options})
        self.config.parse()
        for transform in self.config.get_parsed_content("pre_transforms"):
            data = transform(data)
        network = self.config.get_parsed_content("network_def").train(mode == "train")
        network.load_state_dict(torch.load(self.config["ckpt_path"], weights_only=True))
        with torch.no_grad():
            data["pred"] = self.config.get_parsed_content("inferer")(data["image"][None], network)[0]
        for transform in self.config.get_parsed_content("postprocessing").transforms:
            data = data if type(transform).__name__ == without else transform(data)
        return data


@pytest.fixture
def weights(dataset_dir):
    """Random weights, of a seed whose mask every option changes."""
    torch.manual_seed(9)
    parser = ConfigParser({**ConfigParser.load_config_file(ROOT / "configs" / "inference.json"), **SMALL})
    path = dataset_dir / "random.pt"
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    return str(path)


def command_line(workflow, dataset_dir, **overrides):
    workflow("inference", workflow_type="infer", **overrides).run()
    folder = overrides.get("output_dir", dataset_dir / "eval")
    (lesion,) = Path(folder).rglob("*_lesion.nii.gz")
    return np.asarray(nib.load(lesion).dataobj)


@pytest.mark.parametrize("options", [{}, {"mirror": False}, {"min_lesion_ml": 0}, {"mirror": 0, "min_lesion_ml": 5}])
def test_the_mask_is_the_command_line_s(options, weights, workflow, dataset_dir):
    image = str(dataset_dir / "case_4" / "image.nii")
    found = Task(ckpt_path=weights)(image=image, **options)
    expected = command_line(workflow, dataset_dir, image=image, ckpt_path=weights, **options)
    assert expected.any()
    np.testing.assert_array_equal(found["pred"][0].numpy(), expected)
    assert isinstance(found["result"]["warnings"], str)


def test_maps_of_the_request_are_those_of_the_case(weights, workflow, dataset_dir):
    files = {key: str(dataset_dir / "case_4" / f"{key}.nii") for key in ("image", "cbf", "cbv", "mtt", "tmax")}
    found = Task(ckpt_path=weights)(**files)
    computed, given = (
        command_line(
            workflow,
            dataset_dir,
            ckpt_path=weights,
            output_dir=str(dataset_dir / str(use)),
            use_given_maps=use,
            **{"dataset#data": [{**files, "case": "c"}]},
        )
        for use in (False, True)
    )
    assert (computed != given).any()
    expected = given
    np.testing.assert_array_equal(found["pred"][0].numpy(), expected)


def test_the_client_reads_what_is_wrong_with_a_case(dataset_dir):
    image = dataset_dir / "case_4" / "cbf.nii"
    with pytest.raises(HTTPException) as caught:
        Task()(image=str(image))
    assert caught.value.status_code == 422
    expected = f"case 'case_4', image '{image}': expected a 4D series (H, W, D, T), got 3D (32, 32, 3)"
    assert caught.value.detail == expected


def test_without_fastapi_the_error_is_the_case_s(dataset_dir, monkeypatch):
    monkeypatch.setattr(monai_label, "optional_import", lambda *_, **__: (None, False))
    with pytest.raises(FileNotFoundError, match="expected a file, got nothing there"):
        Task()(image=str(dataset_dir / "nowhere.nii"))


@pytest.mark.parametrize("option", ["$open('run', 'w')", None, 2, [True]])
def test_an_option_is_checked_before_the_config_is_evaluated_with_it(option, dataset_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HTTPException, match="mirror: expected true or false"):
        Task()(image=str(dataset_dir / "case_4" / "image.nii"), mirror=option)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("volume_ml", [-0.1, float("nan"), float("inf"), "1", None])
def test_a_volume_is_finite_and_not_negative(volume_ml):
    with pytest.raises(CaseError, match="min_lesion_ml: expected a volume in ml, 0 or more"):
        check_options({"image": "ctp.nii", "min_lesion_ml": volume_ml})


def test_an_error_of_the_program_is_no_error_of_the_client():
    def broken(case):
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        MonaiLabelCase(broken)({"image": "ctp.nii"})


def test_a_training_run_replaces_the_shipped_weights_in_monai_label_alone(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MONAI_LABEL_")]:
        monkeypatch.delenv(name)
    assert training_dir(tmp_path) == str(tmp_path / "runs" / "train")
    monkeypatch.setitem(sys.modules, "monailabel", ModuleType("monailabel"))
    assert training_dir(tmp_path) == str(tmp_path / "models")
    monkeypatch.delitem(sys.modules, "monailabel")
    monkeypatch.setenv("MONAI_LABEL_DATASTORE_AUTO_RELOAD", "false")  # what its torchrun inherits
    assert training_dir(tmp_path) == str(tmp_path / "models")


def test_the_config_trains_where_the_rule_says(tmp_path):
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "train.json")
    parser.config["bundle_root"] = str(tmp_path)
    assert parser.get_parsed_content("ckpt_dir") == training_dir(tmp_path)
    assert parser.get_parsed_content("last_path") == f"{training_dir(tmp_path)}/checkpoint_last.pt"
    names = sorted(["checkpoint_last.pt", "model.pt"], key=len)
    assert names[0] == "model.pt", "MONAI Label sorts by length, and 3D Slicer takes the first"
    assert Path(parser.get_parsed_content("last_path")).name in names
    assert parser["checkpoint_saver"]["best_path"] == "$@ckpt_dir + '/model.pt'"


def test_maps_next_to_the_series_are_used_on_request(weights, dataset_dir):
    """Maps that a client does not name lie in folders next to the series."""
    case = dataset_dir / "case_4"
    for key in ("cbf", "cbv", "mtt", "tmax"):
        (case / key).mkdir()
        (case / f"{key}.nii").rename(case / key / "image.nii")
    task = Task(ckpt_path=weights)
    default, asked = (task(image=str(case / "image.nii"), **given)["pred"] for given in ({}, {"use_given_maps": 1}))
    assert (default != asked).any()
    named = task(
        image=str(case / "image.nii"), **{key: str(case / key / "image.nii") for key in ("cbf", "cbv", "mtt", "tmax")}
    )
    np.testing.assert_array_equal(named["pred"], asked)


def test_frame_times_are_options(dataset_dir):
    image = str(dataset_dir / "case_4" / "image.nii")
    times_s = [*(1.5 * np.arange(15)), *(21.0 + 2.0 * np.arange(1, 6))]
    (dataset_dir / "times.txt").write_text("\n".join(map(str, times_s)))
    loaded = [
        MonaiLabelCase(LoadCased())({"image": image, **options})
        for options in (
            {"dt_s": "", "times": ""},
            {"dt_s": "2.5"},
            {"dt_s": 2},
            {"times": str(dataset_dir / "times.txt")},
        )
    ]
    assert [(case["dt_s"], case["times_source"]) for case in loaded] == [
        (1.5, "header"),
        (2.5, "case"),
        (2.0, "case"),
        (1.5, "case"),
    ]
    assert loaded[3]["times_s"].tolist() == times_s


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dt_s": "$1"}, "dt_s: expected a time between frames in s"),
        ({"dt_s": -1}, "dt_s: expected a time between frames in s"),
        ({"times": [1]}, "times: expected the path of a file"),
        ({"use_given_maps": "no"}, "use_given_maps: expected true or false"),
        ({"dt_s": 1.5, "times": "none.txt"}, "expected one of times and dt_s, got both"),
        ({"dt_s": 1500}, "are these milliseconds"),
        ({"times": "none.txt"}, "times 'none.txt': expected a file with frame times, got none"),
    ],
)
def test_wrong_frame_times_are_told_to_the_client(options, message, dataset_dir):
    with pytest.raises(HTTPException, match=message) as caught:
        MonaiLabelCase(LoadCased())({"image": str(dataset_dir / "case_4" / "image.nii"), **options})
    assert caught.value.status_code == 422


def test_epistemic_scoring_tells_how_uncertain_a_case_is(weights, dataset_dir):
    """What ``monailabel.tasks.scoring.epistemic_v2`` does: dropout, training mode, no way back to the case's grid."""
    task = Task(ckpt_path=weights, **{"min_lesion_ml": 0})
    task.config["network_def"]["dropout"] = 0.2
    masks = [
        task(image=str(dataset_dir / "case_4" / "image.nii"), min_lesion_ml=0, mode="train", without="Invertd")["pred"]
        for _ in range(4)
    ]
    lesion = torch.stack([mask.as_tensor() for mask in masks]).squeeze().mean(dim=0).clamp_min(5e-5)
    entropy = float((-lesion * lesion.log()).mean())
    assert 0 < entropy < 1
