"""Run the rows of the papers' tables, one small overlay each, by Snakemake, and write ours beside the paper's.

What is done with the same code, config and data is skipped, and what was interrupted goes on from its last epoch. Every
run is tracked in a local MLflow store in the folder of the runs.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from scripts.io import PAPER_COUNTS, write_json
from scripts.phantom import ensure_cohort
from scripts.phantom.parameters import FIELD_OF_VIEW_PIXELS

from ..data import DATALIST, PHANTOM, describe_data
from ..provenance import ROOT, check_clean, command_line, commit
from .outcome import Outcome, outcome_of
from .plan import Plan, Setting
from .published import load_table
from .rows import Row, find_rows, select_rows
from .table_page import TablePage
from .timing import expected_times
from .tracking import prepare_tracking

HELP = "run the rows of the papers' tables; write docs/results/<table>.md"

EXPERIMENTS = ROOT / "configs" / "experiments"
QUICK = Path(__file__).with_name("quick.json")
DATA, QUICK_DATA = ROOT / "data" / "phantom", ROOT / "data" / "quick"
COUNTS, QUICK_COUNTS, SEED, QUICK_MATRIX = PAPER_COUNTS, (48, 6, 24), 0, 128


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
    jobs = "steps at a time; default: one for each GPU; without one, 1, or with --quick one for each core"
    add("--jobs", type=int, help=jobs)
    resume = "skip what is done and go on with what was interrupted (the default); --no-resume begins anew"
    add("--resume", action=argparse.BooleanOptionalAction, default=True, help=resume)
    add("--out", type=Path, default=ROOT / "runs" / "experiments", help="folder of the runs")
    add("--pages", type=Path, default=ROOT / "docs" / "results", help="folder of the tables")
    add("--experiments", type=Path, default=EXPERIMENTS, help="folder of the rows' overlays")
    add("snakemake", nargs="*", metavar="-- OPTION", help="options of snakemake, such as -- --profile slurm")


def run(args: argparse.Namespace) -> None:
    """Run the rows and write the tables that they belong to.

    Raises:
        ValueError: an option is wrong, Snakemake is missing, or another command works in the folder of the runs.
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
    setting = setting_of(args)
    setting.folder.mkdir(parents=True, exist_ok=True)
    try:  # a lock of Snakemake's own would outlive a kill
        with FileLock(setting.folder / ".lock", blocking=False):
            plan = Plan(everything, setting)
            status = run_plan(plan, rows, args)
    except Timeout:
        raise ValueError(f"out '{setting.folder}': expected no other experiments to run there, got one") from None
    if not args.dry_run and (failed := write_pages(plan, everything, rows, args)):
        raise ChildProcessError(f"{len(failed)} rows failed: {', '.join(failed)}; the logs are in {setting.folder}")
    if status:
        raise ChildProcessError(f"snakemake: expected exit status 0, got {status}")


def setting_of(args: argparse.Namespace) -> Setting:
    """What all rows have in common; a phantom is made where no data set is named and none is there.

    The runs have a folder for these options, so that a quick run does not replace a long one.

    Raises:
        FileNotFoundError: the data set has no datalist.
    """
    parts = ["quick"] * args.quick + [path.stem for path in args.config]
    parts += [args.data.absolute().name] if args.data else []
    parts += [f"{args.epochs}_epochs"] * bool(args.epochs) + [f"{args.folds}_folds"] * bool(args.folds)
    folder = args.data or (QUICK_DATA if args.quick else DATA)
    counts, matrix = (QUICK_COUNTS, QUICK_MATRIX) if args.quick else (COUNTS, FIELD_OF_VIEW_PIXELS)
    if not (folder / DATALIST).is_file():
        if (args.data and not args.quick) or (args.folds and args.dry_run):
            raise FileNotFoundError(f"data '{folder}': expected a data set with a {DATALIST}, got none")
        if args.dry_run:
            print(f"first a phantom of {sum(counts)} cases would be made in {folder}")
        else:
            ensure_cohort(folder, counts, SEED, matrix=matrix, workers=os.cpu_count() or 1)
    overlays = (*([QUICK] if args.quick else []), *args.config)
    return Setting(folder, args.out.absolute() / ("-".join(parts) or "default"), overlays, args.epochs, args.folds)


def run_plan(plan: Plan, rows: Sequence[Row], args: argparse.Namespace) -> int:
    """Let Snakemake run the steps of the rows that are not done; its exit status."""
    folder, cores, gpus = plan.setting.folder, os.cpu_count() or 1, torch.cuda.device_count()
    jobs = args.jobs or gpus or (cores if args.quick else 1)
    names = {name: row.table for row in rows for name in plan.steps_of(row)}
    if not args.dry_run:
        if not args.resume:
            remove_runs(folder, names)
        tracking = prepare_tracking(args.out, {row.table for row in rows})
        for name in names:
            plan.steps[name]["overrides"] |= {**tracking, "experiment_name": plan.steps[name]["table"]}
    for name, expected in expected_times(plan, args.pages).items():
        plan.steps[name]["expected"] = expected
    threads = max(1, cores // jobs)
    write_json(folder / "plan.json", plan.as_config(rows, threads=threads, gpus=int(gpus > 0)))
    command = snakemake_command(folder, jobs, threads, [*args.snakemake, *["--dry-run"] * args.dry_run])
    if not args.dry_run:
        return subprocess.run(command, check=False).returncode
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    print(text := result.stdout + result.stderr)
    if minutes := [float(number) for number in re.findall(r", about ([0-9.]+) min", text)]:
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


def write_pages(plan: Plan, everything: Sequence[Row], rows: Sequence[Row], args: argparse.Namespace) -> list[str]:
    """Write the page of every table of the rows, also with those of its rows that were run before.

    Returns:
        The rows that failed.

    Raises:
        ValueError: the pages would name a commit that is not their code.
    """
    check_clean(args.pages, found := commit())
    data, failed = plan.setting.dataset_dir, []
    for name in sorted({row.table for row in rows}):
        table = load_table(name)
        order = {key: place for place, key in enumerate(table.rows)}
        outcomes: list[Outcome] = []
        for row in sorted(everything, key=lambda row: (order.get(row.name, len(order)), row.name)):
            if row.table == name:
                outcomes.append(outcome_of(row, plan, table.row(row.name), asked=row in rows))
                failed += [row.key] * (outcomes[-1].state == "failed")
        page = TablePage(
            table,
            outcomes,
            command=shown_command(args),
            commit=found,
            data=describe_data(data),
            synthetic=(data / PHANTOM).is_file(),
            folds=args.folds,
        )
        if page.done:
            page.write(args.pages)
    return failed


def shown_command(args: argparse.Namespace) -> str:
    """The command with the options that change a result, for all rows of the table."""
    options = {
        "folds": args.folds or None,
        "epochs": args.epochs,
        "data": args.data and shlex.quote(args.data.name),
        "config": " ".join(shlex.quote(path.name) for path in args.config),
    }
    return command_line("experiments", args.quick, options)
