import argparse
import csv
import json
import re
import shutil
import time

import numpy as np
import pytest
from scipy.stats import wilcoxon

from bundle.experiments import command
from bundle.experiments.launch import Launcher
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
    assert experiments("--jobs", "2") == 0
    assert calls() == [
        "table4_ce test None",
        "table4_ce train 60",
        "table4_dice test 3",
        "table4_dice train 3",
    ]
    assert experiments() == 0
    assert calls() == []
    assert experiments("--no-resume", "--row", "dice") == 0
    assert len(calls()) == 2
    assert experiments("--row", "dice", "--epochs", "5") == 0
    assert calls() == ["table4_dice test 3", "table4_dice train 5"]


@pytest.mark.usefixtures("table4")
def test_an_interrupted_training_goes_on_and_a_broken_marker_is_no_marker(experiments, calls, tmp_path):
    assert experiments("--row", "dice") == 0
    calls()
    folder = next((tmp_path / "out" / "runs").glob("table4_dice-*"))
    assert json.loads((folder / "train.json").read_text())["resume"] is True
    (folder / "train" / "done.json").unlink()
    (folder / "test" / "done.json").write_text("{")
    assert experiments("--row", "dice") == 0
    assert calls() == ["table4_dice test 3", "table4_dice train resumed 3"]
    assert json.loads((folder / "train" / "done.json").read_text())["resumed"] is True


@pytest.mark.usefixtures("table4")
def test_another_evaluation_does_not_train_again(experiments, calls, tmp_path):
    assert experiments("--row", "dice") == 0
    calls()
    folder = next((tmp_path / "out" / "runs").glob("table4_dice-*"))
    marker = folder / "test" / "done.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"digest": "of another evaluation"}))
    assert experiments("--row", "dice") == 0
    assert calls() == ["table4_dice test 3"]


@pytest.mark.usefixtures("table4")
def test_a_failing_row_stops_no_other(experiments, calls, overlay, tmp_path, capfd):
    overlay("table4_gd", seed=3, fail=True)
    assert experiments() == 2
    assert len(calls()) == 5
    shown = capfd.readouterr()
    assert "exit status 1" in shown.out + shown.err
    assert "a line of the log\nthe row's own fault" in shown.out + shown.err
    assert re.search(r"error: 1 of the runs failed: table4_gd; the logs are in .*out/runs\n", shown.err)
    page = (tmp_path / "pages" / "table4.md").read_text()
    assert re.search(r"\| GD \|.* failed \|", page)
    assert experiments("--row", "ce") == 0
    assert re.search(r"\| GD \|.* not run \|", (tmp_path / "pages" / "table4.md").read_text())


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
    assert experiments("--row", "dice", "--folds", "2", "--jobs", "2") == 0
    assert calls() == [
        "table4_dice_ensemble test 3",
        *(f"table4_dice_fold_{fold} {step} 3" for fold in (1, 2) for step in ("held_out", "test", "train")),
    ]
    page = (tmp_path / "pages" / "table4.md").read_text()
    assert "by the network of the fold that did not see it" in page
    dice = f"{100 * dice_of(2).mean():.1f} ± {100 * dice_of(2).std(ddof=1):.1f}"
    assert page.count(f"| {dice}") == 3  # two folds and their ensemble
    assert experiments("--row", "dice", "--folds", "2") == 0
    assert calls() == []


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


@pytest.mark.usefixtures("table4")
def test_an_interruption_ends_the_processes(experiments, calls, overlay, tmp_path, monkeypatch):
    overlay("table4_gd", sleep=60)

    def interrupt(futures):
        while not (tmp_path / "calls.txt").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("bundle.experiments.launch.as_completed", interrupt)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        experiments("--row", "gd")
    assert time.monotonic() - start < 30
    assert calls() == ["table4_gd train 60"]
    assert not list((tmp_path / "out" / "runs").glob("*/*/done.json"))


def test_each_process_has_its_share_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.setattr("bundle.experiments.launch.os.cpu_count", lambda: 8)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    launcher = Launcher(2, tmp_path, {})
    assert launcher.environment(0)["OMP_NUM_THREADS"] == "4"
    assert "CUDA_VISIBLE_DEVICES" not in launcher.environment(0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [Launcher(3, tmp_path, {}).environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [Launcher(2, tmp_path, {}).environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(2)] == ["4", "7"]


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
    command.add_arguments(parser)
    assert command.shown_command(parser.parse_args(options.split())) == expected
