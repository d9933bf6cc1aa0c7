"""Rows that are trained by nobody: a stand-in for `python -m monai.bundle run` writes what a run would leave."""

import json
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.__main__ import main
from scripts.metrics import METRICS
from scripts.metrics.handler import COLUMNS

CASES = 12
STAND_IN = f"""#!{sys.executable}
import ast, json, pathlib, sys, time
content = {{}}
for config in ast.literal_eval(sys.argv[sys.argv.index("--config_file") + 1]):
    content.update(json.loads(pathlib.Path(config).read_text()))
out = pathlib.Path(content["output_dir"])
out.mkdir(parents=True, exist_ok=True)
with pathlib.Path(__file__).with_name("calls.txt").open("a") as stream:
    print(content["run_name"] + " resumed" * (out / "checkpoint_last.pt").exists(), content.get("epochs"), file=stream)
print("a line of the log")
time.sleep(content.get("sleep", 0))
if content.get("fail"):
    sys.exit("the row's own fault")
if out.name == "train":
    (out / "checkpoint_last.pt").touch()
    (out / "model.pt").touch()
else:
    (out / "metrics.csv").write_text(content["metrics"])
"""


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


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Put the stand-in in the place of Python; a function that gives its calls so far and forgets them."""
    log, program = tmp_path / "calls.txt", tmp_path / "stand_in"
    program.write_text(STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("bundle.experiments.launch.PYTHON", str(program))
    monkeypatch.setattr("bundle.experiments.command.prepare_tracking", lambda out, experiments: {})

    def take() -> list[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return sorted(re.sub("-[0-9a-f]{12} ", " ", line) for line in lines)  # without the digest of the folder

    return take


@pytest.fixture
def experiments(tmp_path: Path) -> Callable[..., int]:
    """A function that runs the command on the rows of the test."""
    data = tmp_path / "data"
    data.mkdir()
    entries = [{"image": f"case_{i}/image.nii", "case": f"case_{i}", "subject": f"p{i // 2}"} for i in range(8)]
    sections = {"training": entries[:5], "validation": entries[5:6], "testing": entries[6:]}
    (data / "datalist.json").write_text(json.dumps(sections))

    def run(*arguments: str) -> int:
        places = {"data": data, "out": tmp_path / "out", "pages": tmp_path / "pages", "experiments": tmp_path / "rows"}
        return main(
            ["experiments", *(str(part) for name, path in places.items() for part in (f"--{name}", path)), *arguments]
        )

    return run
