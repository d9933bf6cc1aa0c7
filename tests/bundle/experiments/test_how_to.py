"""What docs/how-to/experiments.md says, done."""

import argparse
import csv
import json
import re
import runpy
import shlex
import shutil
import sqlite3
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.losses import TverskyLoss

import scripts.networks
from bundle.__main__ import main
from bundle.experiments import add_arguments
from bundle.experiments.rows import find_rows, select_rows
from tests.bundle.experiments.conftest import replace_snakemake
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
@pytest.mark.skipif(find_spec("mlflow") is None, reason="the extra [experiments] is not installed")
def test_a_network_takes_one_file_and_one_overlay(
    dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, rows, pages = tmp_path / "networks", tmp_path / "rows", tmp_path / "pages"
    shutil.copytree(ROOT / "configs" / "experiments", rows)
    networks.mkdir()
    for folder, name, text in (
        (networks, "scripts/networks/dilated_net.py", NETWORK),
        (rows, "configs/experiments/table3_dilated.json", EXPERIMENT),
    ):
        assert name in PAGE
        (folder / Path(name).name).write_text(text)
    monkeypatch.setattr(scripts.networks, "__path__", [*scripts.networks.__path__, str(networks)])
    sections = json.loads((dataset_dir / "datalist.json").read_text())
    sections["validation"] = sections["training"][1:]
    (dataset_dir / "datalist.json").write_text(json.dumps(sections))
    (small := tmp_path / "small.json").write_text(json.dumps(SMALL))

    def run_step(folder: Path, name: str, _: Any) -> None:
        monkeypatch.setattr(sys, "argv", ["", str(folder), name])
        monkeypatch.delitem(sys.modules, "bundle.experiments.run_step", raising=False)
        runpy.run_module("bundle.experiments.run_step", run_name="__main__")

    replace_snakemake(monkeypatch, run_step)
    places = {"data": dataset_dir, "config": small, "out": tmp_path / "out", "pages": pages, "experiments": rows}
    options = [str(part) for name, path in places.items() for part in (f"--{name}", path)]
    assert main(["experiments", "--row", "table3_dilated", *options]) == 0
    with (pages / "table3.csv").open(newline="") as stream:
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
