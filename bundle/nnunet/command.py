"""Train nnU-Net on the cases and the inputs of rows of the papers' tables, score it as they are, and write a page.

nnU-Net gets the same sections, channels and number of slices to train on; the rows are read from `bundle experiments`.
What is done is not done again.
"""

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..data import PHANTOM, describe_data
from ..experiments import EXPERIMENTS, shared_setting
from ..experiments.outcome import Outcome, outcome_of
from ..experiments.plan import Plan
from ..experiments.published import PublishedRow, load_table
from ..experiments.rows import Row, find_rows, select_rows
from ..experiments.table_page import Provenance, csv_of
from ..markdown import write_text
from ..plots import plot_table
from ..provenance import ROOT, check_clean, command_line, commit
from .page import peer_page, peer_table
from .peer import PREPARE, Peer

HELP = "train nnU-Net on the cases of the experiments, beside their rows; write docs/results/nnunet.md"

CONFIGURATIONS = ("2d", "3d_fullres")
CHANNELS = {
    "image": "frames",
    "cbf": "CBF",
    "cbv": "CBV",
    "mtt": "MTT",
    "tmax": "Tmax",
    "mip": "MIP",
    "dwi": "DWI",
}
"""The keys of `channels` as the page names them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--row",
        nargs="+",
        default=["table5_dwi_olh"],
        help="rows whose inputs nnU-Net gets and beside which it stands (default: table5_dwi_olh)",
    )
    parser.add_argument("--beside", nargs="+", default=["table5_fo"], help="more rows of the table")
    parser.add_argument(
        "--configuration",
        nargs="+",
        choices=CONFIGURATIONS,
        default=["2d"],
        help="of nnU-Net (default: 2d, since slices are 5 to 12 mm thick)",
    )
    parser.add_argument("--epochs", type=int, help="of nnU-Net over the training cases; default: those of the row")
    parser.add_argument("--data", type=Path, help="data set; default: a phantom, made where there is none")
    parser.add_argument("--quick", action="store_true", help="the data and the epochs of `experiments --quick`")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU where there is one")
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        help="processes of nnU-Net that augment; 0, the default: none but that of the training, which can be repeated",
    )
    parser.add_argument(
        "--nnunet",
        type=Path,
        default=ROOT / ".venv-nnunet" / "bin",
        help="folder of nnU-Net's programs; default: that of make env-nnunet",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "nnunet", help="folder of nnU-Net's runs")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "experiments", help="folder of the rows' runs")
    parser.add_argument("--pages", type=Path, default=ROOT / "docs" / "results", help="folder of the page")


def run(args: argparse.Namespace) -> None:
    """Train, score and write `nnunet.md`, `nnunet.csv` and the plot."""
    for name, least in (("epochs", 1), ("workers", 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise ValueError(f"{name}: expected at least {least}, got {getattr(args, name)}")
    check_clean(args.pages, found := commit())
    everything = find_rows(EXPERIMENTS)
    rows = select_rows(everything, names=args.row)
    beside = [row for row in select_rows(everything, names=args.beside) if row not in rows]
    setting = shared_setting(args.runs, args.data, quick=args.quick)
    plan = Plan(everything, setting)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    peers, records = [], []
    each = [Peer.of(plan.contents[row.key], setting, args.out, args.epochs) for row in rows]
    for peer in {peer.folder: peer for peer in each}.values():  # rows may have the same inputs
        for configuration in args.configuration:
            record = peer.measure(configuration, args.nnunet, device, args.workers)
            peers.append(outcome_of_peer(configuration, peer, record))
            records.append(record)
    ours = [
        replace(outcome_of(row, plan, PublishedRow(title(row)), asked=False), name=row.key) for row in (*rows, *beside)
    ]
    provenance = Provenance(
        command=shown_command(args),
        commit=found,
        data=describe_data(setting.dataset_dir),
        synthetic=(setting.dataset_dir / PHANTOM).is_file(),
    )
    table = peer_table(ours[0].name)
    picture = args.pages / "images" / f"{table.name}.png"
    done = [outcome for outcome in (*peers, *ours) if outcome.state == "done"]
    plot_table(table, done, picture)
    page = peer_page(table, peers, ours, records, provenance, picture.relative_to(args.pages))
    write_text(args.pages / f"{table.name}.md", page)
    write_text(args.pages / f"{table.name}.csv", csv_of(table, [*peers, *ours]))
    print(f"{len(done)} rows -> {args.pages / table.name}.md")


def title(row: Row) -> str:
    """A row by its table and its name there."""
    table = load_table(row.table)
    return f"{table.heading}: {table.row(row.name).title}"


def outcome_of_peer(configuration: str, peer: Peer, record: Mapping[str, Any]) -> Outcome:
    """nnU-Net as a row of the table."""
    training = record["training"]
    return Outcome(
        name=f"nnunet_{configuration}_{'_'.join(peer.channels)}",
        published=PublishedRow(f"nnU-Net {configuration}: {', '.join(CHANNELS[key] for key in peer.channels)}"),
        state="done",
        cases=record["cases"],
        seconds=sum(seconds for step, (seconds, _) in record["costs"].items() if step != PREPARE),
        parameters=training["parameters"],
        settings={**training, "image_size": training["patch_size"], "seed": peer.seed},
        commits=frozenset([record["commit"]]),
        machines=frozenset([record["machine"]]),
    )


def shown_command(args: argparse.Namespace) -> str:
    """The command with the options that change the page."""
    options = {
        "row": " ".join(args.row),
        "beside": " ".join(args.beside),
        "configuration": " ".join(args.configuration),
        "epochs": args.epochs,
        "data": args.data and shlex.quote(args.data.name),
    }
    return command_line("nnunet", args.quick, options)
