import argparse
import csv
import fcntl
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy.stats import wilcoxon

from bundle.experiments import QUICK, add_arguments, setting_of, shown_command
from bundle.experiments.plan import Plan, Setting
from bundle.experiments.rows import find_rows
from bundle.experiments.run_step import take_gpu
from bundle.experiments.timing import expected_times
from tests.bundle.experiments.conftest import CASES


def dice_of(seed):
    """The Dice of the stand-in's cases with a lesion."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, CASES).round(4)[:-1]


@pytest.fixture
def table4(overlay):
    """Three rows of Table 4, of which two are the same but for their description."""
    overlay("table4_ce", seed=1)
    overlay("table4_dice", seed=2, epochs=3)
    overlay("table4_wce_hgd", seed=1)


@pytest.mark.usefixtures("table4")
def test_rows_are_run_once_and_skipped_afterwards(experiments, calls):
    assert experiments() == 0
    assert calls() == [
        "table4_ce/testing None",
        "table4_ce/train None",
        "table4_dice/testing 3",
        "table4_dice/train 3",
    ]
    assert experiments() == 0
    assert calls() == []
    assert experiments("--no-resume", "--row", "dice") == 0
    assert len(calls()) == 2
    assert experiments("--row", "dice", "--epochs", "5") == 0
    assert calls() == ["table4_dice/testing 3", "table4_dice/train 5"]
    assert experiments("--row", "dice") == 0
    assert calls() == []  # other options have a folder of their own


def test_an_interrupted_training_goes_on_and_one_of_other_code_does_not(experiments, calls, overlay, monkeypatch):
    overlay("table4_gd", fail="training")
    assert experiments() == 2
    assert experiments() == 2
    assert calls() == ["table4_gd/train None", "table4_gd/train resumed None"]
    monkeypatch.setattr("bundle.experiments.plan.code_digest", lambda: "of other code")
    assert experiments() == 2
    assert calls() == ["table4_gd/train None"]


@pytest.mark.usefixtures("table4")
def test_a_broken_record_is_no_record(experiments, calls, tmp_path):
    assert experiments("--row", "dice") == 0
    calls()
    folder = tmp_path / "out" / "data" / "table4_dice"
    assert json.loads((folder / "train" / "done.json").read_text())["resumed"] is False
    (folder / "testing" / "done.json").write_text("{")
    assert experiments("--row", "dice") == 0
    assert calls() == ["table4_dice/testing 3"]


@pytest.mark.usefixtures("table4")
def test_a_failing_row_stops_no_other(experiments, calls, overlay, tmp_path, capfd):
    overlay("table4_gd", seed=3, fail="testing")
    assert experiments() == 2
    assert len(calls()) == 6
    assert re.search(r"error: 1 rows failed: table4_gd; the logs are in .*out/data\n", capfd.readouterr().err)
    page = (tmp_path / "pages" / "table4.md").read_text()
    assert re.search(r"\| GD \|.* failed \|", page)
    assert experiments("--row", "ce") == 0
    assert re.search(r"\| GD \|.* not run \|", (tmp_path / "pages" / "table4.md").read_text())


@pytest.mark.usefixtures("table4", "calls")
def test_a_page_shows_no_row_of_other_code_and_no_commit_that_is_not_its_code(experiments, tmp_path, monkeypatch):
    assert experiments() == 0
    monkeypatch.setattr("bundle.experiments.plan.code_digest", lambda: "of other code")
    assert experiments("--row", "dice") == 0
    page = (tmp_path / "pages" / "table4.md").read_text()
    assert re.search(r"\| CE \| –.* other code \|", page)
    assert re.search(r"\| Dice \| 50.00", page)
    assert "- commit: `abc1234`; every row was made by its code" in page
    monkeypatch.setattr("bundle.experiments.commit", lambda: "abc1234-dirty")
    monkeypatch.setattr("bundle.provenance.DOCS", tmp_path)
    (tmp_path / "pages" / "table4.md").unlink()
    assert experiments("--row", "dice") == 2
    assert not (tmp_path / "pages" / "table4.md").exists()


@pytest.mark.usefixtures("table4", "calls")
def test_the_table_has_ours_beside_the_papers(experiments, tmp_path):
    assert experiments() == 0
    page = (tmp_path / "pages" / "table4.md").read_text()
    assert page.startswith("# Table 4: Loss functions for segmentation\n")
    ours, other = dice_of(2), dice_of(1)
    cell = f"{100 * ours.mean():.2f} ± {100 * ours.std(ddof=1):.2f}<br>*51.57 ± 20.98*"
    assert cell in next(line for line in page.splitlines() if line.startswith("| Dice |"))
    p = wilcoxon(ours, other).pvalue
    assert f"{min(1, 2 * p):.3f}" in page  # the two rows against the proposed one, of which one equals it
    assert "- epochs: 60 (CE, WCE + HGD); 3 (Dice)" in page
    assert "Cases without one (1) are left out." in page
    assert (tmp_path / "pages" / "images" / "table4.png").stat().st_size > 10_000
    with (tmp_path / "pages" / "table4.csv").open(newline="") as stream:
        rows = {row["row"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["ce", "dice", "wce_hgd"]
    assert float(rows["dice"]["dice_mean"]) == pytest.approx(ours.mean(), rel=1e-5)
    assert float(rows["dice"]["paper_dice_mean"]) == pytest.approx(0.5157)
    assert float(rows["dice"]["p_holm"]) == pytest.approx(min(1, 2 * p), rel=1e-5)
    assert rows["wce_hgd"]["p_holm"] == ""
    assert float(rows["ce"]["parameters_m"]) > 0


@pytest.mark.usefixtures("table4", "calls")
def test_the_orderings_are_those_of_the_numbers(experiments, tmp_path):
    assert experiments() == 0
    page = (tmp_path / "pages" / "table4.md").read_text()
    difference = 100 * (dice_of(1) - dice_of(2)).mean()
    holds = "yes" if difference > 0 else "no"
    assert re.search(
        rf"\| WCE \+ HGD > Dice \| \+7.80 \| {re.escape(f'{difference:+.2f}')} \| [\d.]+ \| {holds} \|", page
    )
    assert "| WCE + HGD > CE | +4.92 | +0.00 | 1.000 | no |" in page
    assert f"Of the 3 pairs of rows that the paper ranks by mean Dice, {2 if difference > 0 else 0} have" in page


@pytest.mark.usefixtures("calls")
def test_a_table_of_ones_own(experiments, overlay, tmp_path):
    overlay("mine_first", seed=4)
    assert experiments() == 0
    page = (tmp_path / "pages" / "mine.md").read_text()
    assert f"| first | 50.00 ± 0.00 | 50.00 ± 0.00 | {100 * dice_of(4).mean():.2f} ±" in page
    assert "paper" not in page


@pytest.mark.usefixtures("table4")
def test_folds_and_their_ensemble(experiments, calls, tmp_path):
    assert experiments("--row", "dice", "--folds", "2") == 0
    parts = [f"fold_{fold}/{step}" for fold in (1, 2) for step in ("testing", "train", "validation")]
    assert calls() == [f"table4_dice_{part} 3" for part in ("ensemble/testing", *parts)]
    page = (tmp_path / "pages" / "table4.md").read_text()
    assert "by the network of the fold that did not see it" in page
    dice = f"{100 * dice_of(2).mean():.1f} ± {100 * dice_of(2).std(ddof=1):.1f}"
    assert page.count(f"| {dice}") == 3  # two folds and their ensemble
    assert experiments("--row", "dice", "--folds", "2") == 0
    assert calls() == []


@pytest.mark.usefixtures("table4", "calls")
def test_a_dry_run_adds_up_the_times_and_leaves_nothing_but_its_plan(experiments, tmp_path, monkeypatch, capsys):
    commands = []

    def snakemake(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "a: train, about 30.0 min\n", "b: train, about 90.0 min\n")

    monkeypatch.setattr(subprocess, "run", snakemake)
    assert experiments("--dry-run", "--jobs", "2", "--", "--profile", "slurm") == 0
    assert commands[0][-3:] == ["--profile", "slurm", "--dry-run"]
    assert "together about 1.0 h, 2 at a time" in capsys.readouterr().out
    assert not (tmp_path / "pages").exists()
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"data", ".lock", "plan.json"}


def test_quick_has_small_widths_and_says_which_phantom_it_would_make(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bundle.experiments.QUICK_DATA", tmp_path / "quick")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    setting = setting_of(parser.parse_args(["--quick", "--dry-run", "--out", str(tmp_path), "--epochs", "3"]))
    assert setting == Setting(tmp_path / "quick", tmp_path / "quick-3_epochs", (QUICK,), epochs=3)
    assert capsys.readouterr().out == f"first a phantom of 78 cases would be made in {tmp_path / 'quick'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--row", "gan"], "row: expected some of table4_ce"),
        (["--table", "7"], "table: expected some of table4, got table7"),
        (["--folds", "1"], "folds: expected at least 2, or 0"),
        (["--folds", "9"], "folds: expected 2 to 3"),
        (["--jobs", "0"], "jobs: expected at least 1, got 0"),
        (["--epochs", "0"], "epochs: expected at least 1, got 0"),
    ],
)
@pytest.mark.usefixtures("table4")
def test_wrong_options(arguments, message, experiments, calls, capsys):
    assert experiments(*arguments) == 2
    assert message in capsys.readouterr().err
    assert calls() == []


@pytest.mark.usefixtures("table4")
def test_a_data_set_without_datalist(experiments, calls, tmp_path, capsys):
    shutil.rmtree(tmp_path / "data")
    assert experiments() == 2
    assert "expected a data set with a datalist.json, got none" in capsys.readouterr().err
    assert calls() == []


def test_each_step_has_a_gpu_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert take_gpu() is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    locks = []
    for free in ("4", "7", "4,7"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
        locks.append(take_gpu())
        assert os.environ["CUDA_VISIBLE_DEVICES"] == free
    locks[1].release()
    assert take_gpu() is not None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert take_gpu() is not None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


@pytest.mark.usefixtures("table4")
def test_a_second_command_in_the_same_folder_is_refused(experiments, calls, tmp_path, capsys):
    folder = tmp_path / "out" / "data"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert experiments("--row", "dice") == 2
    assert "expected no other experiments to run there, got one" in capsys.readouterr().err
    assert calls() == []
    assert experiments("--row", "dice") == 0


def test_the_time_of_a_step_is_what_it_or_others_took(overlay, data, tmp_path):
    for seed, name in enumerate(("table4_ce", "table4_dice", "table4_gd")):
        overlay(name, seed=seed, image_size=64, epochs=30)
    plan = Plan(find_rows(tmp_path / "rows"), Setting(data, tmp_path / "out"))
    pages = tmp_path / "pages"
    assert set(expected_times(plan, pages).values()) == {"time unknown"}
    pages.mkdir()
    (pages / "table4.csv").write_text('row,minutes,epochs,features,image_size\nce,5,10,"[2, 2]",64\ndice,5,10,[3],64\n')
    times = expected_times(plan, pages)
    assert times["table4_ce/train"] == "about 15.0 min"
    assert times["table4_dice/train"] == times["table4_ce/testing"] == "time unknown"
    for name, seconds in (("table4_ce", 60), ("table4_gd", 180)):
        path = tmp_path / "out" / name / "train" / "done.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"seconds": seconds}))
    times = expected_times(plan, pages)
    assert [times[f"table4_{name}/train"] for name in ("ce", "dice", "gd")] == [f"about {m}.0 min" for m in (1, 2, 3)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--quick --table 5", "python -m bundle experiments --quick"),
        ("--epochs 6 --folds 5", "python -m bundle experiments --folds 5 --epochs 6"),
        (
            "--data some/where --config a.json b/c.json",
            "python -m bundle experiments --data where --config a.json c.json",
        ),
    ],
)
def test_the_page_shows_the_command(options, expected):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert shown_command(parser.parse_args(options.split())) == expected
