import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bundle import results
from bundle.__main__ import main
from bundle.case_rows import read_rows
from bundle.data import describe_data, load_cases
from bundle.results import check_same_cases
from bundle.results_page import Method, difference_line, lesion_free_table, metrics_table
from scripts.metrics import METRICS, TMAX_6S, ThresholdRule, case_metrics
from scripts.metrics.handler import write_rows
from scripts.networks import StrokeLesionNet
from scripts.phantom import ensure_cohort

RULES = [TMAX_6S, ThresholdRule("cbf", 0.5, above=False, relative=True)]


@pytest.fixture
def metrics_csv(dataset_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for an evaluation: the label one pixel off."""
    rows = [
        {"case": c["case"], **case_metrics(np.roll(c["label"], 1, axis=0), c["label"], c["spacing_mm"])}
        for c in load_cases(dataset_dir, dataset_dir / "datalist.json", "testing")
    ]
    write_rows(dataset_dir / "metrics.csv", rows)
    monkeypatch.setattr(results, "run_workflow", lambda name, **overrides: None)
    return dataset_dir / "metrics.csv"


@pytest.fixture
def command(dataset_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The arguments of the command on the small data set, with a short search for the best threshold."""
    monkeypatch.setattr("scripts.metrics.thresholds.threshold_grid", lambda: RULES)
    weights = dataset_dir / "model.pt"
    weights.write_bytes(b"weights")

    def make(*more: str) -> list[str]:
        fixed = ["--dataset-dir", dataset_dir, "--ckpt-path", weights, "--eval-dir", dataset_dir]
        return ["results", *map(str, fixed), "--out", str(dataset_dir / "docs" / "results.md"), *more]

    return make


def test_page_and_picture(command: Callable[..., list[str]], metrics_csv: Path, dataset_dir: Path) -> None:
    assert main(command()) == 0
    page = (dataset_dir / "docs" / "results.md").read_text()
    assert (dataset_dir / "docs" / "images" / "results.png").is_file()
    with metrics_csv.open(newline="") as stream:
        dice = [float(row["dice"]) for row in csv.DictReader(stream) if float(row["volume_ml"]) > 0]
    cell = f"{np.mean(dice):.3f} ± {np.std(dice, ddof=1):.3f}"
    assert re.search(rf"\| this bundle \| {re.escape(cell)} \|", page)
    for part in (
        "## Any lesion: 2 cases",
        "## No lesion: 1 case\n",
        "| this bundle | 1 of 1 | 0.00 | 0.00 |",
        "SHA-256",
    ):
        assert part in page
    for rule in ("chosen threshold", "rCBF < 30 % within Tmax > 6 s", "Tmax > 6 s", "oracle threshold"):
        assert f"| {rule} | " in page


def test_remarks_come_last(command: Callable[..., list[str]], metrics_csv: Path, dataset_dir: Path) -> None:
    remarks = dataset_dir / "docs" / "remarks.md"
    remarks.parent.mkdir(parents=True, exist_ok=True)
    remarks.write_text("## The papers' tables\n\nWhat holds.\n")
    assert main(command()) == 0
    assert (dataset_dir / "docs" / "results.md").read_text().endswith("\n\n## The papers' tables\n\nWhat holds.\n")


def test_page_is_reproducible(command: Callable[..., list[str]], metrics_csv: Path, dataset_dir: Path) -> None:
    contents = []
    for _ in range(2):
        assert main(command()) == 0
        contents.append([file.read_bytes() for file in sorted((dataset_dir / "docs").rglob("*.*"))])
    assert contents[0] == contents[1]
    assert len(contents[0]) == 2


def test_evaluates_the_weights(command: Callable[..., list[str]], dataset_dir: Path) -> None:
    torch.manual_seed(0)
    weights = dataset_dir / "random.pt"
    torch.save(StrokeLesionNet(features=(16, 32, 64, 128, 256)).state_dict(), weights)
    evaluation = dataset_dir / "evaluation"
    assert main(command("--eval-dir", str(evaluation), "--ckpt-path", str(weights))) == 0
    assert [row["case"] for row in read_rows(evaluation / "metrics.csv")] == ["case_2", "case_3", "case_4"]
    assert "| all | " in (dataset_dir / "docs" / "results.md").read_text().split("## Pseudo-DWI")[1]


def test_rows_of_earlier_versions_lack_the_scores_of_lesions(metrics_csv: Path) -> None:
    with metrics_csv.open() as stream:
        rows = list(csv.DictReader(stream))
    kept = [name for name in rows[0] if not name.startswith("lesion_")]
    assert len(kept) == len(rows[0]) - 2
    with metrics_csv.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    found = read_rows(metrics_csv)
    assert [row["dice"] for row in found] == [float(row["dice"]) for row in rows]
    assert all(np.isnan(row["lesion_f1"]) for row in found)


def test_missing_weights_and_wrong_rows(
    command: Callable[..., list[str]], metrics_csv: Path, dataset_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("--ckpt-path", "none.pt")) == 2
    assert capsys.readouterr().err == "error: ckpt_path 'none.pt': expected the weights, got nothing there\n"
    lines = metrics_csv.read_text().splitlines(keepends=True)
    metrics_csv.write_text("".join(lines[:-1]))
    assert main(command()) == 2
    assert "error: chosen threshold: expected the 2 cases of 'this bundle', got others" in capsys.readouterr().err
    metrics_csv.write_text("case,dice\n")
    assert main(command()) == 2
    assert "expected rows with the columns case, dice, precision" in capsys.readouterr().err
    assert not (dataset_dir / "docs").exists()


def row(case: str, volume_ml: float, dice: float, false_positive_ml: float = 0.0) -> dict[str, Any]:
    numbers = dict.fromkeys(METRICS, np.nan)
    return {"case": case} | numbers | {"volume_ml": volume_ml, "dice": dice, "false_positive_ml": false_positive_ml}


FIRST = Method("first", [row("a", 5, 0.6), row("b", 60, 0.8), row("c", 0, 0.0, 1.5), row("d", 0, 1.0)])
SECOND = Method("second", [row("a", 5, 0.5), row("b", 60, 0.9), row("c", 0, 1.0), row("d", 0, 1.0)])


def test_tables_by_hand() -> None:
    table = metrics_table([FIRST, SECOND], "any lesion", {"dice": ("Dice", 2), "ssim": ("SSIM", 2)})
    assert table.splitlines() == [
        "|  | Dice | SSIM |",
        "| --- | ---: | ---: |",
        "| first | 0.70 ± 0.14 | – |",
        "| second | 0.70 ± 0.28 | – |",
    ]
    assert lesion_free_table([FIRST, SECOND]).splitlines()[2:] == [
        "| first | 1 of 2 | 0.75 ± 1.06 | 1.50 |",
        "| second | 2 of 2 | 0.00 ± 0.00 | 0.00 |",
    ]


def test_difference_is_over_cases_with_a_lesion() -> None:
    line = difference_line(FIRST, SECOND)
    assert "Mean Dice of first minus second over the 2 cases with a lesion: +0.000" in line
    assert "interval -0.100 to +0.100); higher in 1 cases." in line
    assert difference_line(Method("x", FIRST.rows[2:]), SECOND) == "Fewer than two cases have a lesion."


def test_methods_are_brought_into_one_order() -> None:
    other = Method("other", SECOND.rows[::-1])
    check_same_cases([FIRST, other])
    assert [r["case"] for r in other.rows] == list("abcd")


def test_data_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def generate(folder: Path, counts: tuple[int, ...], seed: int, **options: Any) -> None:
        made.append((counts, seed, options["overwrite"]))
        folder.mkdir(exist_ok=True)
        (folder / "phantom.json").write_text(json.dumps({"seed": seed, "counts": counts}))
        if len(made) > 1:  # the first is interrupted
            (folder / "datalist.json").touch()

    monkeypatch.setattr("scripts.phantom.cohort.generate_cohort", generate)
    for _ in range(3):
        ensure_cohort(tmp_path / "data", (0, 0, 4), 9)
    assert made == [((0, 0, 4), 9, False), ((0, 0, 4), 9, True)]
    assert describe_data(tmp_path / "data") == "the phantom with seed 9 (`--split 0/0/4 --seed 9`)"
    assert describe_data(tmp_path) == f"the data set `{tmp_path.name}`"


def test_the_cohort_of_the_weights_is_large_enough() -> None:
    training, _, testing = results.COUNTS
    assert training >= 150
    assert testing >= 40
