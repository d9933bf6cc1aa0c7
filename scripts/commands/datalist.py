"""`ctp-stroke datalist`: the datalist of a data set, split by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, split_counts

NAME = "datalist"
EXAMPLES = (
    "Without a table of patients, consecutive case numbers count as slabs of one patient where their series share the "
    "in-plane grid and the timing and differ in position along the slice axis; every other case counts as its own "
    "patient. Example: ctp-stroke datalist TRAINING --without-dwi"
)


def run(
    root: Annotated[
        Path, typer.Argument(help="ISLES 2018 folder: holds TRAINING, or case_N folders.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="datalist to write; default: ROOT/datalist.json.", show_default=False),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="CSV table with the columns case and subject; default: ROOT/patients.csv if there is one.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="also write OUT_fold0.json to OUT_fold<K-1>.json, each testing on another fold, and the key 'fold' "
            "in the entries of OUT.",
            show_default=False,
        ),
    ] = None,
    without_dwi: Annotated[bool, typer.Option("--without-dwi", help="leave the DWI out even if provided.")] = False,
    seed: Annotated[int, typer.Option(help="seed of the split.")] = 0,
    split: Annotated[
        str,
        typer.Option(
            metavar="A/B/C",
            help="cases for training, validation and testing, scaled to the number found (default: as Wang 2020).",
        ),
    ] = "65/6/23",
    debug: Debug = False,
) -> None:
    """Make a datalist of an ISLES 2018 folder: training, validation and testing, split by patient."""
    counts = split_counts(split)
    from ..io.isles2018 import write_datalists

    table = root / "patients.csv"
    written = write_datalists(
        root,
        out or root / "datalist.json",
        patients=patients or (table if table.is_file() else None),
        with_dwi=not without_dwi,
        folds=folds,
        counts=counts,
        seed=seed,
    )
    typer.echo(written)
