import csv
import json
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle.__main__ import main
from bundle.experiments import EXPERIMENTS, shared_setting
from bundle.experiments.plan import DONE, METRICS, Plan
from bundle.experiments.rows import find_rows, select_rows
from bundle.nnunet.peer import Peer, score
from scripts.io import write_nifti
from tests.bundle.experiments.conftest import as_csv, metrics_of
from tests.bundle.nnunet.conftest import PREPARE, TRAIN
from tests.conftest import ROOT, axial_affine

REAL = "NNUNET_PROGRAMS"


@pytest.fixture
def nnunet(tmp_path, dataset_dir, programs):
    """A function that runs the command on the row of the perfusion maps."""

    def run(*arguments: str, programs: Path = programs) -> int:
        places = {"data": dataset_dir, "nnunet": programs}
        places |= {name: tmp_path / name for name in ("out", "runs", "pages")}
        command = [part for name, path in places.items() for part in (f"--{name}", str(path))]
        return main(["nnunet", *command, "--row", "table5_fo", "--beside", "table5_cta", "--device", "cpu", *arguments])

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


def test_the_epochs_are_those_of_the_row(dataset_dir, tmp_path):
    rows = select_rows(find_rows(EXPERIMENTS), names=["table5_dwi_olh", "table5_dwi_olh_sequential"])
    setting = shared_setting(tmp_path, dataset_dir)
    contents = Plan(rows, setting).contents
    plain, staged = (Peer.of(contents[row.key], setting, tmp_path) for row in rows)
    train = json.loads((ROOT / "configs" / "train.json").read_text())
    assert plain.epochs == train["epochs"]
    assert staged.epochs == train["epochs"] * len(contents[rows[1].key][0]["stages"])
    assert plain.channels == tuple(train["channels"])
    assert len({plain.folder, staged.folder, Peer.of(contents[rows[0].key], setting, tmp_path, 2).folder}) == 3


def test_the_page_has_nnunet_beside_the_row_that_was_run(nnunet, dataset_dir, tmp_path):
    setting = shared_setting(tmp_path / "runs", dataset_dir)
    everything = find_rows(EXPERIMENTS)
    plan = Plan(everything, setting)
    rows = metrics_of(np.array([0.25, 0.75, 0.0]))[:2]
    for row, name in zip(rows, ("case_3", "case_4"), strict=True):
        row["case"] = name
    (row_of_maps,) = select_rows(everything, names=["table5_fo"])
    for name in plan.steps_of(row_of_maps):
        done = setting.folder / name / DONE
        done.parent.mkdir(parents=True, exist_ok=True)
        record = {"digests": plan.steps[name]["digests"], "commit": "abc", "machine": "a machine", "seconds": 90}
        done.write_text(json.dumps(record | {"parameters": 5000000}))
        (done.parent / METRICS).write_text(as_csv(rows))
    assert nnunet("--epochs", "4") == 0
    page = (tmp_path / "pages" / "nnunet.md").read_text()
    assert re.search(r"\| nnU-Net 2d: CBF, CBV, MTT, Tmax \|.* \| 100\.00 ± 0\.00 \|.* \| 1\.23 \|", page)
    assert re.search(r"\| Table 5: F_o \|.* \| 50\.00 ± 35\.36 \|.* \| 5\.00 \| 3\.0 \|", page)
    assert "minus Table 5: F_o: +50.00 % Dice, higher in 2 of 2 cases" in page
    assert "4 epochs of 3 batches of 2 patches of 32 x 32" in page
    assert "| Table 5: CTA frames | –" in page
    assert "`python -m bundle experiments --row table5_cta` makes these rows" in page
    with (tmp_path / "pages" / "nnunet.csv").open() as stream:
        table = {row["row"]: row for row in csv.DictReader(stream)}
    assert list(table) == ["nnunet_2d_cbf_cbv_mtt_tmax", "table5_fo", "table5_cta"]
    assert [float(table[name]["dice_mean"]) for name in list(table)[:2]] == [1.0, 0.5]
    assert (tmp_path / "pages" / "images" / "nnunet.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again(nnunet, programs):
    assert nnunet() == 0
    before = len(calls(programs))
    assert nnunet() == 0
    assert len(calls(programs)) == before
    assert nnunet("--epochs", "2") == 0
    assert len(calls(programs)) == 2 * before


def test_the_data_need_not_be_named(tmp_path, programs, dataset_dir, monkeypatch):
    setting = shared_setting(tmp_path / "runs", dataset_dir)
    monkeypatch.setattr("bundle.nnunet.command.shared_setting", lambda *args, **options: setting)
    places = [part for name in ("out", "runs", "pages") for part in (f"--{name}", str(tmp_path / name))]
    assert main(["nnunet", *places, "--nnunet", str(programs), "--row", "table5_fo", "--device", "cpu", "--quick"]) == 0
    page = (tmp_path / "pages" / "nnunet.md").read_text()
    assert "`python -m bundle nnunet --quick --row table5_fo --beside table5_fo --configuration 2d`" in page


def test_rows_of_the_same_inputs_share_one_training(nnunet, programs):
    assert nnunet("--row", "table5_fo", "table3_unet") == 0
    assert [call[0] for call in calls(programs)] == [*PREPARE, *TRAIN]


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
    assert (folder / "metrics.csv").is_file()
