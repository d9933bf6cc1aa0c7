"""Rows that are trained by nobody: a stand-in for a workflow writes what a run would leave."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bundle import experiments as experiments_package
from bundle.__main__ import main
from bundle.experiments import run_step
from scripts.metrics import METRICS
from scripts.metrics.handler import COLUMNS

CASES = 12


def metrics_of(dice: np.ndarray) -> list[dict[str, Any]]:
    """Rows of cases with these Dice values; volumes go from small to large, and the last case has no lesion."""
    volumes = np.linspace(2, 80, len(dice))
    volumes[-1] = 0
    return [
        {"case": f"case_{i}"}
        | {name: 0.5 for name in METRICS}
        | {"dice": float(value), "volume_ml": float(volume), "relative_volume_error": 1 - float(value)}
        for i, (value, volume) in enumerate(zip(dice, volumes, strict=True))
    ]


def as_csv(rows: list[dict[str, Any]]) -> str:
    lines = [",".join(COLUMNS), *(",".join(str(row.get(column, "")) for column in COLUMNS) for row in rows)]
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another digest of the code than that of all files, which takes a while: see tests/bundle/test_provenance.py."""
    monkeypatch.setattr("bundle.experiments.plan.code_digest", lambda: "of this code")


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the overlay of a row, whose stand-in run scores these Dice values."""

    def write(name: str, seed: int = 0, **content: Any) -> Path:
        dice = np.random.default_rng(seed).uniform(0.1, 0.9, CASES).round(4)
        path = tmp_path / "rows" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        defaults = {"description": name, "features": [2, 2], "metrics": as_csv(metrics_of(dice))}
        path.write_text(json.dumps(defaults | content))
        return path

    return write


def replace_snakemake(monkeypatch: pytest.MonkeyPatch, run: Callable[..., None]) -> None:
    """In the place of Snakemake, run in this process what is not done; see test_snakemake.py for Snakemake itself.

    Args:
        monkeypatch: of the test.
        run: what the Snakefile calls, with the arguments of `run_step`.
    """
    start = subprocess.run

    def snakemake(command: list[str], **options: Any) -> Any:
        if command[1:3] != ["-m", "snakemake"]:
            return start(command, **options)
        plan = json.loads(Path(command[command.index("--configfile") + 1]).read_text())
        status, folder = 0, Path(plan["folder"])
        for wanted in plan["wanted"]:
            name = wanted.removesuffix("/done.json")
            step = plan["steps"][name]
            if run_step.read_record(folder / wanted).get("digests") == step["digests"]:
                continue
            if not all((folder / path).is_file() for path in step["inputs"]):
                continue
            (folder / wanted).unlink(missing_ok=True)
            try:
                run(folder, name, step)
            except (RuntimeError, OSError):
                status = 1
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(subprocess, "run", snakemake)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Nobody trains: a stand-in for a workflow writes what it would leave, and one for Snakemake runs what is not done.

    A function that gives the workflows so far and forgets them.
    """
    log: list[str] = []

    def run_workflow(config: str, overlays: list[Path], *, tracking: str, run_name: str, **overrides: Any) -> Any:
        content = {key: value for path in overlays for key, value in json.loads(path.read_text()).items()} | overrides
        out = Path(content["output_dir"])
        training = config == "train"
        if training:
            out = Path(content["ckpt_dir"])
        out.mkdir(parents=True, exist_ok=True)
        log.append(f"{run_name}{' resumed' * (out / 'checkpoint_last.pt').exists()} {content.get('epochs')}")
        if content.get("fail") == ("training" if training else content["section"]):
            if training:
                (out / "checkpoint_last.pt").touch()
            raise RuntimeError("the row's own fault")
        for name in ["checkpoint_last.pt", "model.pt"] if training else ["metrics.csv"]:
            (out / name).write_text(content["metrics"])
        network = torch.nn.Linear(3, 3)
        return SimpleNamespace(parser=SimpleNamespace(get_parsed_content={"network_def": network}.get))

    replace_snakemake(monkeypatch, run_step.run_step)
    monkeypatch.setattr(run_step, "run_workflow", run_workflow)
    monkeypatch.setattr(run_step, "commit", lambda: "abc1234")
    monkeypatch.setattr(experiments_package, "commit", lambda: "abc1234")
    monkeypatch.setattr(experiments_package, "find_spec", lambda name: name)
    monkeypatch.setattr(experiments_package, "prepare_tracking", lambda out, experiments: {})

    def take() -> list[str]:
        taken = sorted(log)
        log.clear()
        return taken

    return take


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A datalist of cases that are not there."""
    folder = tmp_path / "data"
    folder.mkdir()
    entries = [{"image": f"case_{i}/image.nii", "case": f"case_{i}", "subject": f"p{i // 2}"} for i in range(8)]
    sections = {"training": entries[:5], "validation": entries[5:6], "testing": entries[6:]}
    (folder / "datalist.json").write_text(json.dumps(sections))
    return folder


@pytest.fixture
def experiments(tmp_path: Path, data: Path) -> Callable[..., int]:
    """A function that runs the command on the rows of the test."""

    def run(*arguments: str) -> int:
        places = {"data": data, "out": tmp_path / "out", "pages": tmp_path / "pages", "experiments": tmp_path / "rows"}
        return main(
            ["experiments", *(str(part) for name, path in places.items() for part in (f"--{name}", path)), *arguments]
        )

    return run
