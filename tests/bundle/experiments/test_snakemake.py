"""The Snakefile under Snakemake itself, with a stand-in for the steps that trains nobody."""

import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bundle.experiments import remove_runs, snakemake_command
from bundle.experiments.plan import Plan, Setting
from bundle.experiments.rows import find_rows
from scripts.io import write_json

pytest.importorskip("snakemake", reason="the extra [experiments] is not installed")
pytestmark = pytest.mark.slow

STAND_IN = f"""#!{sys.executable}
import json, pathlib, sys
assert sys.argv[1:3] == ["-m", "bundle.experiments.run_step"] and pathlib.Path("bundle").is_dir()
folder, name = pathlib.Path(sys.argv[3]), sys.argv[4]
step = json.loads((folder / "plan.json").read_text())["steps"][name]
content = {{}}
for path in step["overlays"]:
    content.update(json.loads(pathlib.Path(path).read_text()))
with (folder / "calls.txt").open("a") as stream:
    print(name, file=stream)
if content.get("fail"):
    sys.exit("the row's own fault")
out = folder / name
out.mkdir(parents=True, exist_ok=True)
(out / ("model.pt" if out.name == "train" else "metrics.csv")).touch()
(out / "done.json").write_text("{{}}")
"""


@pytest.fixture
def snakemake(data: Path, tmp_path: Path) -> Callable[..., tuple[list[str], int, str]]:
    """A function that runs the plan of the rows: the steps that were called, the exit status and the output."""
    program = tmp_path / "stand_in"
    program.write_text(STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    folder = tmp_path / "out"

    def run(*options: str, folds: int = 0, changed: Mapping[str, str] | None = None) -> tuple[list[str], int, str]:
        rows = find_rows(tmp_path / "rows")
        plan = Plan(rows, Setting(data, folder, folds=folds))
        for step in plan.steps.values():
            step["expected"] = "about 1.5 min"
        for name, digest in (changed or {}).items():
            plan.steps[name]["digests"][digest] = "another"
        write_json(folder / "plan.json", plan.as_config(rows, threads=1, gpus=0) | {"python": str(program)})
        command = snakemake_command(folder, 2, 1, options)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        calls = folder / "calls.txt"
        steps = sorted(calls.read_text().split()) if calls.exists() else []
        calls.unlink(missing_ok=True)
        return steps, result.returncode, result.stdout + result.stderr

    return run


def test_what_changed_runs_again_and_a_dry_run_says_why(snakemake, overlay, tmp_path):
    overlay("table4_ce", seed=1)
    overlay("table4_dice", seed=2)
    everything = [f"table4_{row}/{step}" for row in ("ce", "dice") for step in ("testing", "train")]
    assert snakemake()[:2] == (everything, 0)
    overlay("table4_ce", seed=1, description="in other words")
    overlay("table4_dice", seed=2, epochs=5)
    calls, status, text = snakemake("--dry-run")
    assert (calls, status) == ([], 0)
    assert "Params have changed" in text
    assert "table4_dice: train, about 1.5 min" in text
    assert "table4_ce: " not in text
    changed = {"table4_ce/testing": "data"}
    assert snakemake(changed=changed)[0] == [everything[0], *everything[2:]]
    remove_runs(tmp_path / "out", ["table4_dice/train"])
    assert snakemake(changed=changed | {"table4_ce/train": "code"})[0] == everything


def test_a_failing_row_stops_no_other_and_folds_come_before_their_ensemble(snakemake, overlay):
    overlay("table4_ce", seed=1)
    overlay("table4_gd", fail=True)
    calls, status, text = snakemake(folds=2)
    done = [f"ce_fold_{fold}/{step}" for fold in (1, 2) for step in ("testing", "train", "validation")]
    failed = ["gd_fold_1/train", "gd_fold_2/train"]
    assert calls == [f"table4_{name}" for name in ("ce_ensemble/testing", *done, *failed)]
    assert status == 1
    assert "the row's own fault" in text
