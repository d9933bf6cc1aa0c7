"""Run the rows of the papers' tables, one small overlay each, and write ours beside the paper's.

What is done is skipped, and what was interrupted goes on from its last epoch. Every run is tracked in a local MLflow
store in the folder of the runs.
"""

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from scripts.io import PAPER_COUNTS, atomic_path

from ..steps import DATALIST, PHANTOM, ROOT, command_line, describe_data, ensure_data
from .figures import plot_table
from .folds import fold_datalists
from .launch import Launcher, StepFailed
from .outcome import Outcome, outcome_of
from .page import Provenance, csv_of, page_of
from .plan import Job, Setting, ensemble_job, plan_jobs
from .published import Table, load_table
from .rows import Row, find_rows, select_rows
from .tracking import prepare_tracking

HELP = "run the rows of the papers' tables; write docs/results/<table>.md"

EXPERIMENTS = ROOT / "configs" / "experiments"
DATA, COUNTS, SEED = ROOT / "data" / "phantom", PAPER_COUNTS, 0
QUICK = Path(__file__).with_name("quick.json")
QUICK_DATA, QUICK_COUNTS, QUICK_SEED, QUICK_MATRIX = ROOT / "data" / "quick", (48, 6, 24), 0, 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--table", nargs="+", default=[], help="tables, such as 5 or song2019; default: all")
    parser.add_argument("--row", nargs="+", default=[], help="rows, such as dwi_olh or table5_dwi_olh; default: all")
    parser.add_argument("--folds", type=int, default=0, help="cross-validate with so many folds, and ensemble them")
    parser.add_argument("--epochs", type=int, help="of every training; default: those of the configs")
    parser.add_argument("--data", type=Path, help="data set; default: a phantom, made where there is none")
    parser.add_argument(
        "--config", type=Path, nargs="+", default=[], help="overlays for all rows, such as configs/paper.json"
    )
    parser.add_argument("--quick", action="store_true", help="small widths, few epochs and a small coarse phantom")
    parser.add_argument(
        "--jobs",
        type=int,
        help="processes at a time; default: one for each GPU; without one, 1, or with --quick one for each core",
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="skip what is done and go on with what was interrupted (the default); --no-resume begins anew",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "experiments", help="folder of the runs")
    parser.add_argument("--pages", type=Path, default=ROOT / "docs" / "results", help="folder of the tables")
    parser.add_argument("--experiments", type=Path, default=EXPERIMENTS, help="folder of the rows' overlays")


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
    setting = shared_setting(args.out, args.data, quick=args.quick, config=args.config, epochs=args.epochs)
    tables = {row.table for row in rows}
    plan = Plan([row for row in everything if row.table in tables], setting, args.folds)
    jobs = args.jobs or torch.cuda.device_count() or ((os.cpu_count() or 1) if args.quick else 1)
    tracking = prepare_tracking(args.out, tables)
    launcher = Launcher(jobs, args.out, tracking, args.resume)
    failures = launcher.run([job for row in rows for job in plan.jobs[row.key]], "experiments")
    sound = [row for row in rows if row.key in plan.ensembles and not plan.failed(row, failures)]
    failures |= launcher.run([plan.ensembles[row.key] for row in sound], "ensembles") if sound else {}
    provenance = Provenance(
        command=shown_command(args),
        data=describe_data(setting.dataset_dir),
        synthetic=(setting.dataset_dir / PHANTOM).is_file(),
        folds=args.folds,
    )
    for name in sorted(tables):
        write_table(load_table(name), plan.outcomes(name, failures), provenance, args.pages)
    if failures:
        names = ", ".join(row.key for row in rows if plan.failed(row, failures))
        raise ChildProcessError(f"{len(failures)} of the runs failed: {names}; the logs are in {args.out / 'runs'}")


class Plan:
    """The jobs of some tables.

    Args:
        rows: all of the tables to write, so that a page also shows what was run before.
        setting: what they have in common.
        folds: of the cross-validation; 0 without one.

    Attributes:
        jobs: by the row's key, its only job or that of each fold.
        ensembles: by the row's key, the evaluation of all folds together.
    """

    def __init__(self, rows: Sequence[Row], setting: Setting, folds: int) -> None:
        self.rows = rows
        settings = [setting]
        if folds:
            lists = fold_datalists(setting.datalist, setting.dataset_dir, folds, setting.out)
            settings = [
                replace(setting, datalist=path, held_out=True, suffix=f"_fold_{index}")
                for index, path in enumerate(lists, start=1)
            ]
        by_fold = [plan_jobs(rows, each) for each in settings]
        self.jobs = {row.key: [jobs[row.key] for jobs in by_fold] for row in rows}
        self.ensembles: dict[str, Job] = {}
        if folds:
            self.ensembles = {row.key: ensemble_job(row, self.jobs[row.key], setting) for row in rows}

    def failed(self, row: Row, failures: Mapping[Path, StepFailed]) -> bool:
        """Whether a job of a row failed."""
        ensemble = [self.ensembles[row.key]] if row.key in self.ensembles else []
        return any(job.folder in failures for job in [*self.jobs[row.key], *ensemble])

    def outcomes(self, table: str, failures: Mapping[Path, StepFailed]) -> list[Outcome]:
        """The rows of a table in the paper's order, with what is known of them."""
        published = load_table(table)
        order = list(published.rows)
        rows = [row for row in self.rows if row.table == table]
        rows.sort(key=lambda row: (order.index(row.name) if row.name in order else len(order), row.name))
        return [
            outcome_of(
                row.name,
                published.row(row.name),
                self.jobs[row.key],
                self.ensembles.get(row.key),
                failed=self.failed(row, failures),
            )
            for row in rows
        ]


def write_table(table: Table, outcomes: Sequence[Outcome], provenance: Provenance, pages: Path) -> None:
    """Write `<table>.md`, `<table>.csv` and `images/<table>.png`; nothing where no row is done."""
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    if not done:
        return
    picture = pages / "images" / f"{table.name}.png"
    plot_table(table, done, picture)
    page = page_of(table, outcomes, provenance, picture.relative_to(pages))
    for suffix, text in ((".md", page), (".csv", csv_of(table, outcomes))):
        with atomic_path(pages / f"{table.name}{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"{len(done)} of {len(outcomes)} rows -> {pages / table.name}.md")


def shared_setting(
    out: Path, data: Path | None = None, *, quick: bool = False, config: Sequence[Path] = (), epochs: int | None = None
) -> Setting:
    """What all rows have in common; a phantom is made where no data set is named and none is there.

    Args:
        out: folder of the runs.
        data: data set.
        quick: small widths, few epochs and a small coarse phantom.
        config: overlays for all rows.
        epochs: of every training; None leaves them to the configs.

    Raises:
        FileNotFoundError: the data set has no datalist.
    """
    dataset_dir = data or (QUICK_DATA if quick else DATA)
    workers = os.cpu_count() or 1
    if quick:
        datalist = ensure_data(dataset_dir, QUICK_COUNTS, QUICK_SEED, matrix=QUICK_MATRIX, workers=workers)
    elif data:
        datalist = dataset_dir / DATALIST
        if not datalist.is_file():
            raise FileNotFoundError(f"data '{dataset_dir}': expected a data set with a {DATALIST}, got none")
    else:
        datalist = ensure_data(dataset_dir, COUNTS, SEED, workers=workers)
    return Setting(dataset_dir, datalist, out.absolute(), (*((QUICK,) if quick else ()), *config), epochs)


def shown_command(args: argparse.Namespace) -> str:
    """The command with the options that change a result, for all rows of the table."""
    options = {
        "folds": args.folds or None,
        "epochs": args.epochs,
        "data": args.data and shlex.quote(args.data.name),
        "config": " ".join(shlex.quote(path.name) for path in args.config),
    }
    return command_line("experiments", args.quick, options)
