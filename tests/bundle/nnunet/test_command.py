import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle.__main__ import main
from bundle.nnunet.peer import Peer, score
from scripts.io import write_nifti
from tests.bundle.experiments.conftest import as_csv, metrics_of
from tests.bundle.nnunet.conftest import PREPARE, TRAIN
from tests.conftest import ROOT, axial_affine

REAL, PAGE = "NNUNET_PROGRAMS", "nnunet.md"
MAPS = ("cbf", "cbv", "mtt", "tmax")


@pytest.fixture
def nnunet(tmp_path, dataset_dir, programs):
    """A function that runs the command on the perfusion maps."""

    def run(*arguments: str, programs: Path = programs) -> int:
        places = {"data": dataset_dir, "nnunet": programs, "out": tmp_path / "out", "page": tmp_path / "pages" / PAGE}
        command = [part for name, path in places.items() for part in (f"--{name}", str(path))]
        return main(["nnunet", *command, "--channels", *MAPS, "--device", "cpu", *arguments])

    return run


def calls(programs: Path) -> list[list[str]]:
    return [line.split() for line in (programs / "calls.txt").read_text().splitlines()]


def test_nnunet_plans_trains_and_predicts_what_the_row_has(nnunet, programs, tmp_path):
    assert nnunet("--configuration", "2d", "3d_fullres", "--epochs", "4") == 0
    done = calls(programs)
    assert [call[0] for call in done] == [*PREPARE, *TRAIN, *TRAIN]
    assert done[3][1:] == ["1", "2d", "0", "-tr", "SameSlicesTrainer", "-device", "cpu"]
    assert done[6][1:3] == ["1", "3d_fullres"]
    assert done[7][done[7].index("-c") + 1] == "3d_fullres"
    (data,) = (tmp_path / "out").iterdir()
    content = json.loads((data / "raw" / "Dataset001_CTP" / "dataset.json").read_text())
    assert list(content["channel_names"].values()) == ["cbf", "cbv", "mtt", "tmax"]
    assert content["schedule"]["epochs"] == 4


def test_the_defaults_are_those_of_the_training(nnunet, tmp_path):
    assert nnunet() == 0
    (data,) = (tmp_path / "out").iterdir()
    content = json.loads((data / "raw" / "Dataset001_CTP" / "dataset.json").read_text())
    assert content["schedule"]["epochs"] == json.loads((ROOT / "configs" / "train.json").read_text())["epochs"]


def test_another_folder_where_anything_differs(dataset_dir, tmp_path):
    peer = Peer(dataset_dir / "datalist.json", dataset_dir, MAPS, 4, 0, 1.0, tmp_path)
    others = [replace(peer, epochs=5), replace(peer, seed=1), replace(peer, channels=MAPS[:3])]
    assert len({other.folder for other in (peer, replace(peer, min_lesion_ml=2.0), *others)}) == 4


def test_the_page_has_nnunet_next_to_ours(nnunet, tmp_path):
    rows = metrics_of(np.array([0.25, 0.75, 0.0]))[:2]
    for row, name in zip(rows, ("case_3", "case_4"), strict=True):
        row["case"] = name
    (tmp_path / "metrics.csv").write_text(as_csv(rows))
    assert nnunet("--epochs", "4", "--beside", f"ours={tmp_path / 'metrics.csv'}") == 0
    page = (tmp_path / "pages" / PAGE).read_text()
    assert re.search(r"\| nnU-Net 2d \| 1\.000 ± 0\.000 \|", page)
    assert re.search(r"\| ours \| 0\.500 ± 0\.354 \|", page)
    assert "Mean Dice of nnU-Net 2d minus ours over the 2 cases with a lesion: +0.500" in page
    assert "higher in 2 cases" in page
    assert "4 epochs of 3 batches of 2 patches of 32 x 32" in page
    assert "1.23 M parameters" in page
    with (tmp_path / "pages" / "nnunet_2d.csv").open() as stream:
        assert [float(row["dice"]) for row in csv.DictReader(stream)] == [1.0, 1.0]


def test_ours_of_other_cases_are_refused(nnunet, tmp_path, capsys):
    (tmp_path / "metrics.csv").write_text(as_csv(metrics_of(np.array([0.25]))))
    assert nnunet("--beside", f"ours={tmp_path / 'metrics.csv'}") == 2
    assert "ours: expected the 2 cases of 'nnU-Net 2d', got others" in capsys.readouterr().err


def test_what_is_done_is_not_done_again(nnunet, programs):
    assert nnunet() == 0
    before = len(calls(programs))
    assert nnunet() == 0
    assert len(calls(programs)) == before
    assert nnunet("--epochs", "2") == 0
    assert len(calls(programs)) == 2 * before


def test_an_interrupted_training_begins_anew_on_the_same_data(nnunet, programs, capsys):
    (programs / "fail").touch()
    assert nnunet() == 2
    error = capsys.readouterr().err
    assert "nnUNetv2_train: exit status 1" in error
    assert "nnU-Net's own fault" in error
    (programs / "fail").unlink()
    assert nnunet() == 0
    assert [call[0] for call in calls(programs)] == [*PREPARE, *TRAIN[:2], *TRAIN]


def test_an_environment_without_nnunet_is_one_clear_error(nnunet, tmp_path, capsys):
    assert nnunet(programs=tmp_path) == 2
    assert "expected nnU-Net's programs (make env-nnunet), got none" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "least"), [("epochs", 1), ("workers", 0)])
def test_a_bad_number_is_named(nnunet, capsys, option, least):
    assert nnunet(f"--{option}", str(least - 1)) == 2
    assert f"{option}: expected at least {least}, got {least - 1}" in capsys.readouterr().err


def test_masks_are_scored_as_ours_are(tmp_path):
    affine = axial_affine((2.0, 2.0, 5.0), "LPS")
    truth = np.zeros((40, 40, 4), np.uint8)
    truth[10:20, 10:20, 1:3] = 1  # 200 voxels of 0.02 ml: 4 ml
    guess = np.zeros_like(truth)
    guess[10:20, 15:25, 1:3] = 1
    guess[30:34, 30:34, 1] = 1  # 0.32 ml, below the smallest that is kept
    write_nifti(tmp_path / "labels" / "case_1.nii.gz", truth, affine)
    write_nifti(tmp_path / "masks" / "case_1.nii.gz", guess, affine)
    (row,) = score(tmp_path / "masks", tmp_path / "labels", min_lesion_ml=1.0)
    assert row["case"] == "case_1"
    assert row["dice"] == pytest.approx(0.5)
    assert row["volume_ml"] == pytest.approx(4.0)
    assert row["predicted_volume_ml"] == pytest.approx(4.0)
    assert row["hausdorff_mm"] == pytest.approx(10.0)
    (unfiltered,) = score(tmp_path / "masks", tmp_path / "labels", min_lesion_ml=0.0)
    assert unfiltered["predicted_volume_ml"] == pytest.approx(4.32)


def test_a_case_that_nnunet_left_out_is_an_error(tmp_path):
    write_nifti(tmp_path / "labels" / "case_1.nii.gz", np.zeros((4, 4, 2), np.uint8), np.eye(4))
    with pytest.raises(FileNotFoundError, match="case 'case_1'"):
        score(tmp_path / "masks", tmp_path / "labels", min_lesion_ml=1.0)


def test_make_and_the_page_know_the_command():
    page = (ROOT / "docs" / "how-to" / "nnunet.md").read_text()
    for target in re.findall(r"make ([\w-]+)", page):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert "    python -m bundle nnunet --quick" in page


@pytest.mark.slow
@pytest.mark.skipif(REAL not in os.environ, reason=f"{REAL} names no folder of nnU-Net's programs: make test-nnunet")
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_nnunet_itself_trains_and_its_masks_lie_on_the_cases(nnunet, tmp_path, dataset_dir, configuration):
    assert nnunet("--epochs", "2", "--configuration", configuration, programs=Path(os.environ[REAL])) == 0
    (folder,) = (path.parent for path in (tmp_path / "out").rglob("record.json"))
    training = json.loads((folder / "record.json").read_text())["training"]
    assert training["epochs"] == 2
    depth = 1 if configuration == "2d" else training["patch_size"][0]
    assert training["iterations_per_epoch"] == max(1, round(6 / (depth * training["batch_size"])))
    for name in ("case_3", "case_4"):
        mask, source = nib.load(folder / "predictions" / f"{name}.nii.gz"), nib.load(dataset_dir / name / "label.nii")
        assert mask.shape == source.shape
        np.testing.assert_allclose(mask.affine, source.affine, atol=1e-5)
        assert set(np.unique(mask.dataobj)) <= {0, 1}
    assert (tmp_path / "pages" / f"nnunet_{configuration}.csv").is_file()
