"""What docs/how-to/experiments.md says, done."""

import argparse
import csv
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.losses import TverskyLoss

from bundle.experiments import add_arguments
from bundle.experiments.rows import find_rows, select_rows
from tests.conftest import ROOT, SMALL

PAGE = (ROOT / "docs" / "how-to" / "experiments.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"`python -m bundle experiments ([^`]+)`", PAGE)
CONFIGS = re.findall(r"'(configs/[^']+)'", PAGE)
NETWORK, EXPERIMENT, LOSS = re.findall(r"```(?:python|json)\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_names_what_is_there(command: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(shlex.split(command))
    if args.row != ["table3_dilated"]:
        assert select_rows(find_rows(args.experiments), args.table, args.row)
    assert all((ROOT / config).is_file() for config in args.config)


def test_the_configs_of_the_page_are_there() -> None:
    assert len(CONFIGS) == 7
    assert all((ROOT / config).is_file() for config in CONFIGS)


def test_a_loss_takes_an_overlay(tmp_path: Path) -> None:
    (overlay := tmp_path / "mine_tversky.json").write_text(LOSS)
    assert f"configs/experiments/{overlay.name}" in PAGE
    content = ConfigParser.load_config_files([str(ROOT / "configs" / "train.json"), str(overlay)])
    parser = ConfigParser(content | SMALL)
    network, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss_function")
    label = (torch.rand(2, 1, 32, 32) > 0.5).float()
    value = loss({"logits": network(torch.rand(2, len(content["channels"]), 32, 32))}, {"label": label})
    value.backward()
    assert isinstance(loss.segmentation.losses["dice"], TverskyLoss)
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.slow
@pytest.mark.skipif(find_spec("snakemake") is None, reason="the extra [experiments] is not installed")
def test_a_network_takes_one_file_and_one_overlay(dataset_dir: Path, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    for folder in ("bundle", "configs", "scripts"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in (
        ("scripts/networks/dilated_net.py", NETWORK),
        ("configs/experiments/table3_dilated.json", EXPERIMENT),
    ):
        assert name in PAGE
        (root / name).write_text(text)
    sections = json.loads((dataset_dir / "datalist.json").read_text())
    sections["validation"] = sections["training"][1:]
    (dataset_dir / "datalist.json").write_text(json.dumps(sections))
    (small := tmp_path / "small.json").write_text(json.dumps(SMALL))
    result = subprocess.run(
        [sys.executable, "-m", "bundle", "experiments", "--row", "table3_dilated"]
        + ["--data", str(dataset_dir), "--config", str(small), "--out", str(tmp_path / "out")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    with (root / "docs" / "results" / "table3.csv").open(newline="") as stream:
        states = {row["row"]: row["state"] for row in csv.DictReader(stream)}
    assert states.pop("dilated") == "done"
    assert set(states.values()) == {"not run"}
    folder = tmp_path / "out" / f"small-{dataset_dir.name}" / "table3_dilated"
    assert (folder / "train" / "model.pt").is_file()
    with sqlite3.connect(tmp_path / "out" / "mlflow.db") as store:
        runs = {name for (name,) in store.execute("select name from runs")}
        metrics = {name for (name,) in store.execute("select distinct key from metrics")}
    assert {"table3_dilated/train", "table3_dilated/testing"} <= runs
    assert {"train_loss", "val_mean_dice"} <= metrics
