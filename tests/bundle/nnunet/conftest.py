"""A small data set, and stand-ins for nnU-Net's programs that predict the true label."""

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import axial_affine

NAMES = {"training": ["case_0", "case_1"], "validation": ["case_2"], "testing": ["case_3", "case_4"]}
PREPARE = ("python", "nnUNetv2_plan_experiment")
TRAIN = ("nnUNetv2_preprocess", "nnUNetv2_train", "nnUNetv2_predict")
STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, shutil, sys
here = pathlib.Path(__file__)
with here.with_name("calls.txt").open("a") as stream:
    print(here.name, *sys.argv[1:], file=stream)
if here.name == "nnUNetv2_plan_experiment" and os.environ["nnUNet_n_proc_DA"] == "0":
    sys.exit("as nnU-Net: set_num_threads expects a positive integer")
print("a line of the log")
if here.with_name("fail").exists() and here.name == "nnUNetv2_train":
    sys.exit("nnU-Net's own fault")
data = pathlib.Path(os.environ["nnUNet_raw"], "Dataset001_CTP")
if here.name == "nnUNetv2_train":
    schedule = json.loads((data / "dataset.json").read_text())["schedule"]
    folder = f"Dataset001_CTP/SameSlicesTrainer__nnUNetPlans__{{sys.argv[2]}}/fold_0"
    record = pathlib.Path(os.environ["nnUNet_results"], folder, "training.json")
    record.parent.mkdir(parents=True)
    training = {{"nnunetv2": "9.9", "parameters": 1234567, "features": [8, 16], "patch_size": [32, 32]}}
    training |= {{"batch_size": 2, "learning_rate": 0.01, "epochs": schedule["epochs"], "iterations_per_epoch": 3}}
    record.write_text(json.dumps(training))
if here.name == "nnUNetv2_predict":
    images, masks = (pathlib.Path(sys.argv[sys.argv.index(option) + 1]) for option in ("-i", "-o"))
    masks.mkdir(parents=True)
    for path in images.glob("*_0000.nii.gz"):
        name = path.name.replace("_0000", "")
        shutil.copy(data / "labelsTs" / name, masks / name)
"""


@pytest.fixture
def dataset_dir(tmp_path: Path, write_case: Callable[..., dict[str, str]]) -> Path:
    """Two training cases, one to validate and two to test; every other one is stored from left to right."""
    folder = tmp_path / "data"
    folder.mkdir()
    sections = {}
    for section, names in NAMES.items():
        cases = [
            write_case(
                name, shape=(32, 32, 3), seed=index, affine=axial_affine(codes="LPS" if index % 2 else "RAS"), dwi=False
            )
            for index, name in enumerate(names)
        ]
        for case, name in zip(cases, names, strict=True):
            (tmp_path / name).rename(folder / name)
            case.update({key: f"{name}/{key}.nii" for key in case if key != "case"})
        sections[section] = cases
    (folder / "datalist.json").write_text(json.dumps(sections))
    return folder


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of stand-ins, which note their calls in `calls.txt`; with a file `fail` the training fails."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in (*PREPARE, *TRAIN):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)
    return folder
