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
    "patient. Example: ctp-stroke datalist TRAINING"
)


def run(
    root: Annotated[
        Path, typer.Argument(help="folder of ISLES 2018, ISLES'24, UniToBrain or a BIDS data set.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="datalist to write; default: datalist.json in ROOT, or in the folder of --prepared.",
            show_default=False,
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="isles2018, isles2024, unitobrain or bids; default: found.", show_default=False
        ),
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="write cases whose files lie on several grids, or are DICOM, to FOLDER, on the grid of the series; "
            "it is then the dataset_dir. Cases that are there already are kept.",
            show_default=False,
        ),
    ] = None,
    register: Annotated[
        bool,
        typer.Option(
            "--register",
            help="with --prepared, of ISLES'24: register each series to its non-contrast CT by shifts and rotations, "
            "if that raises their mutual information, which is shown.",
        ),
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="leave out cases with problems; otherwise nothing is written.")
    ] = False,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=GLOB",
            help="files of a BIDS folder for one key: image, cbf, cbv, mtt, tmax, dwi or label; can be repeated.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="also write an HTML page with a picture of each case and the spread of frames, spacing and volumes.",
            show_default=False,
        ),
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
    """Make the datalist of a data set: training, validation and testing, split by patient."""
    counts = split_counts(split)
    patterns = dict(_key_and_glob(text) for text in pattern or [])
    from ..datasets.datalists import write_datalists

    table = root / "patients.csv"
    written = write_datalists(
        root,
        out or (prepared or root) / "datalist.json",
        layout=layout,
        patterns=patterns,
        prepared=prepared,
        registered=register,
        overview=report,
        skip_bad=skip_bad,
        patients=patients or (table if table.is_file() else None),
        with_dwi=not without_dwi,
        folds=folds,
        counts=counts,
        seed=seed,
        report=lambda line: typer.echo(line, err=True),
    )
    typer.echo(written)


def _key_and_glob(text: str) -> tuple[str, str]:
    key, _, glob = text.partition("=")
    if not key or not glob:
        raise typer.BadParameter(f"--pattern: expected KEY=GLOB such as dwi=*_dwi.nii.gz, got '{text}'")
    return key, glob
