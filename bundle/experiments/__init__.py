"""Run the rows of the papers' tables, one small overlay each, by Snakemake, and write ours beside the paper's.

What is done with the same code, config and data is skipped, and what was interrupted goes on from its last epoch. Every
run is tracked in a local MLflow store in the folder of the runs.
"""

import argparse
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from scripts.io import PAPER_COUNTS, write_json
from scripts.phantom import ensure_cohort
from scripts.phantom.parameters import FIELD_OF_VIEW_PIXELS

from ..data import DATALIST, PHANTOM, describe_data
from ..provenance import ROOT, check_clean, command_line, commit
from .outcome import is_done, outcome_of
from .plan import Plan, Setting
from .published import load_table
from .rows import Row, find_rows, select_rows
from .table_page import Provenance, write_table
from .timing import expected_times
from .tracking import prepare_tracking

HELP = "run the rows of the papers' tables; write docs/results/<table>.md"

EXPERIMENTS = ROOT / "configs" / "experiments"
DATA, COUNTS, SEED = ROOT / "data" / "phantom", PAPER_COUNTS, 0
QUICK = Path(__file__).with_name("quick.json")
QUICK_DATA, QUICK_COUNTS, QUICK_SEED, QUICK_MATRIX = ROOT / "data" / "quick", (48, 6, 24), 0, 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--table", nargs="+", default=[], help="tables, such as 5 or song2019; default: all")
    add("--row", nargs="+", default=[], help="rows, such as dwi_olh or table5_dwi_olh; default: all")
    add("--folds", type=int, default=0, help="cross-validate with so many folds, and ensemble them")
    add("--epochs", type=int, help="of every training; default: those of the configs")
    add("--data", type=Path, help="data set; default: a phantom, made where there is none")
    add("--config", type=Path, nargs="+", default=[], help="overlays for all rows, such as configs/paper.json")
    add("--quick", action="store_true", help="small widths, few epochs and a small coarse phantom")
    add("--dry-run", action="store_true", help="list what would run, why and for about how long, and run nothing")
    add(
        "--jobs",
        type=int,
        help="steps at a time; default: one for each GPU; without one, 1, or with --quick one for each core",
    )
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="skip what is done and go on with what was interrupted (the default); --no-resume begins anew",
    )
    add("--out", type=Path, default=ROOT / "runs" / "experiments", help="folder of the runs")
    add("--pages", type=Path, default=ROOT / "docs" / "results", help="folder of the tables")
    add("--experiments", type=Path, default=EXPERIMENTS, help="folder of the rows' overlays")
    add("snakemake", nargs="*", metavar="-- OPTION", help="options of snakemake, such as -- --profile slurm")


def run(args: argparse.Namespace) -> None:
    """Run the rows and write the tables that they belong to.

    Raises:
        ChildProcessError: rows failed; the others are done and the tables written.
    """
    if args.folds == 1 or args.folds < 0:
        raise ValueError(f"folds: expected at least 2, or 0 for the sections of the datalist, got {args.folds}")
    for name in ("jobs", "epochs"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(args, name)}")
    everything = find_rows(args.experiments)
    rows = select_rows(everything, args.table, args.row)
    if find_spec("snakemake") is None:
        raise ValueError("experiments: expected Snakemake; `pip install '.[experiments]'` brings it")
    shared = {"quick": args.quick, "config": args.config, "epochs": args.epochs, "folds": args.folds}
    setting = shared_setting(args.out, args.data, **shared, make_data=not args.dry_run)
    jobs = args.jobs or torch.cuda.device_count() or ((os.cpu_count() or 1) if args.quick else 1)
    with locked(setting.folder):
        plan = Plan(everything, setting)
        status = run_plan(plan, rows, jobs, args)
    failed: list[str] = []
    if not args.dry_run:
        write_pages(plan, everything, rows, args)
        failed = [row.key for row in rows if not is_done(row, plan)]
    if failed:
        raise ChildProcessError(f"{len(failed)} rows failed: {', '.join(failed)}; the logs are in {setting.folder}")
    if status:
        raise ChildProcessError(f"snakemake: expected exit status 0, got {status}")


def shared_setting(
    out: Path,
    data: Path | None = None,
    *,
    quick: bool = False,
    config: Sequence[Path] = (),
    epochs: int | None = None,
    folds: int = 0,
    make_data: bool = True,
) -> Setting:
    """What all rows have in common; a phantom is made where no data set is named and none is there.

    Args:
        out: holds a folder for the runs with these options, so that a quick run does not replace a long one.
        data: data set.
        quick: small widths, few epochs and a small coarse phantom.
        config: overlays for all rows.
        epochs: of every training; None leaves them to the configs.
        folds: of the cross-validation.
        make_data: False to say that a phantom would be made, and to make none.

    Raises:
        FileNotFoundError: the data set has no datalist.
    """
    parts = ["quick"] * quick + [path.stem for path in config] + ([data.absolute().name] if data else [])
    parts += [f"{epochs}_epochs"] * bool(epochs) + [f"{folds}_folds"] * bool(folds)
    folder = data or (QUICK_DATA if quick else DATA)
    counts, seed, matrix = (QUICK_COUNTS, QUICK_SEED, QUICK_MATRIX) if quick else (COUNTS, SEED, FIELD_OF_VIEW_PIXELS)
    if not (folder / DATALIST).is_file():
        if (data and not quick) or (folds and not make_data):
            raise FileNotFoundError(f"data '{folder}': expected a data set with a {DATALIST}, got none")
        if make_data:
            ensure_cohort(folder, counts, seed, matrix=matrix, workers=os.cpu_count() or 1)
        else:
            print(f"first a phantom of {sum(counts)} cases would be made in {folder}")
    overlays = (*((QUICK,) if quick else ()), *config)
    return Setting(folder, out.absolute() / ("-".join(parts) or "default"), overlays, epochs, folds)


def run_plan(plan: Plan, rows: Sequence[Row], jobs: int, args: argparse.Namespace) -> int:
    """Let Snakemake run the steps of the rows that are not done; its exit status."""
    folder = plan.setting.folder
    wanted = {name: plan.steps[name] for row in rows for name in plan.steps_of(row)}
    if not args.dry_run:
        if not args.resume:
            remove_runs(folder, wanted)
        for step in wanted.values():
            step |= {"tracking": str(args.out.absolute() / "tracking.json")}
        tracking = prepare_tracking(args.out, {row.table for row in rows})
        for step in wanted.values():
            step["overrides"] |= {**tracking, "experiment_name": step["table"]}
    for name, expected in expected_times(plan, args.pages).items():
        plan.steps[name]["expected"] = expected
    threads = max(1, (os.cpu_count() or 1) // jobs)
    write_json(folder / "plan.json", plan.as_config(rows, threads=threads, gpus=int(torch.cuda.is_available())))
    if not args.dry_run:
        return subprocess.run(snakemake_command(folder, jobs, threads, args.snakemake), check=False).returncode
    command = snakemake_command(folder, jobs, threads, [*args.snakemake, "--dry-run"])
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    print(result.stdout + result.stderr)
    if minutes := [float(number) for number in re.findall(r", about ([0-9.]+) min", result.stdout + result.stderr)]:
        print(f"together about {sum(minutes) / 60 / jobs:.1f} h, {jobs} at a time")
    return result.returncode


def snakemake_command(folder: Path, jobs: int, threads: int, options: Sequence[str] = ()) -> list[str]:
    """The command that runs the plan in a folder, so many jobs at a time; the options come last and win."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).with_name("Snakefile"))]
    command += ["--directory", str(folder), "--configfile", str(folder / "plan.json"), "--scheduler", "greedy"]
    command += ["--cores", str(jobs * threads), "--jobs", str(jobs), "--keep-going", "--rerun-incomplete", "--nolock"]
    return [*command, "--rerun-triggers", "mtime", "input", "params", "--show-failed-logs", *options]


def remove_runs(folder: Path, names: Iterable[str]) -> None:
    """Remove all that earlier runs of these steps left."""
    for name in {name.split("/")[0] for name in names}:
        shutil.rmtree(folder / name, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others out of the folder of the runs; a lock of Snakemake's own would outlive a kill.

    Raises:
        ValueError: another command works in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"out '{folder}': expected no other experiments to run there, got one") from None
        yield


def write_pages(plan: Plan, everything: Sequence[Row], rows: Sequence[Row], args: argparse.Namespace) -> None:
    """Write the page of every table of the rows, also with those of its rows that were run before.

    Raises:
        ValueError: the pages would name a commit that is not their code.
    """
    check_clean(args.pages, found := commit())
    data = plan.setting.dataset_dir
    provenance = Provenance(shown_command(args), found, describe_data(data), (data / PHANTOM).is_file(), args.folds)
    asked = {row.key for row in rows}
    for name in sorted({row.table for row in rows}):
        table = load_table(name)
        some = [row for row in everything if row.table == name]
        outcomes = [outcome_of(row, plan, table.row(row.name), asked=row.key in asked) for row in some]
        write_table(table, outcomes, provenance, args.pages)


def shown_command(args: argparse.Namespace) -> str:
    """The command with the options that change a result, for all rows of the table."""
    options = {
        "folds": args.folds or None,
        "epochs": args.epochs,
        "data": args.data and shlex.quote(args.data.name),
        "config": " ".join(shlex.quote(path.name) for path in args.config),
    }
    return command_line("experiments", args.quick, options)
