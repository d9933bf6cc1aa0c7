"""The commands of the README and of the model card run, here on a small data set and from another directory."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL

PAGES = ("README.md", "docs/README.md", "models/README.md", "docs/how-to/tracking.md")
OVERRIDES = [argument for name, value in SMALL.items() for argument in (f"--{name}", str(value))]


def commands(page: str) -> list[str]:
    """Every command of a page: in backticks, or on an indented line."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"`(python -m [^`]+)`|^    ((?:python -m|make) .+)$", text, flags=re.MULTILINE)
    return [next(filter(None, groups)).split("  #")[0].split("    #")[0].strip() for groups in found]


ALL = sorted({command for page in PAGES for command in commands(page)})
BUNDLE = [command for command in ALL if command.startswith("python -m monai.bundle run")]


def run(command: list[str], cwd: Path, *, check: bool = True) -> subprocess.CompletedProcess:
    """Run a command of the docs with this interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if check:
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def test_the_pages_show_commands():
    assert len(BUNDLE) >= 6
    assert {"make demo", "make test"} <= {command for command in ALL if command.startswith("make")}


@pytest.mark.parametrize("target", sorted(command.split()[1] for command in ALL if command.startswith("make")))
def test_make_knows_the_target(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("command", BUNDLE)
def test_a_bundle_command_runs_from_another_directory(command, dataset_dir, tmp_path):
    arguments = shlex.split(command)
    for index, argument in enumerate(arguments):
        arguments[index] = argument.replace("configs/", f"{ROOT}/configs/").replace(
            "ctp.nii.gz", str(dataset_dir / "case_4" / "image.nii")
        )
    for name, value in (("dataset_dir", dataset_dir), ("output_dir", tmp_path / "out"), ("ckpt_dir", tmp_path / "m")):
        if f"--{name}" in arguments:
            arguments[arguments.index(f"--{name}") + 1] = str(value)
        else:
            arguments += [f"--{name}", str(value)]
    arguments += OVERRIDES
    if "training" not in arguments:
        arguments += ["--checkpoint_loader#_disabled_", "True"]
    run(arguments, tmp_path)
    if "training" in arguments:
        assert (tmp_path / "m" / "model.pt").exists()
    else:
        assert list((tmp_path / "out").glob("*.csv"))


@pytest.mark.slow
def test_the_run_id_trains_too(dataset_dir, tmp_path):
    command = f"python -m monai.bundle run run --config_file {ROOT}/configs/train.json --dataset_dir {dataset_dir}"
    run(
        [*command.split(), "--ckpt_dir", str(tmp_path / "m"), "--output_dir", str(tmp_path), *OVERRIDES],
        ROOT,
    )
    assert (tmp_path / "m" / "checkpoint_last.pt").exists()
