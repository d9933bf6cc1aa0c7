"""`ctp-stroke phantom`: a synthetic data set with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, split_counts

NAME = "phantom"
EXAMPLES = "Example: ctp-stroke phantom --out data/phantom --cases 94"

FIELD_OF_VIEW_PIXELS = 256


def run(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="folder to write; new or empty.")],
    cases: Annotated[
        int | None, typer.Option(min=1, help="number of cases; default: the sum of --split.", show_default=False)
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="A/B/C",
            help="cases for training, validation and testing; default: 65/6/23, scaled to --cases.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="the same seed gives the same bytes.")] = 0,
    without_dwi: Annotated[bool, typer.Option("--without-dwi", help="leave MR_DWI out.")] = False,
    matrix: Annotated[int, typer.Option(help="pixels along a side of a slice; the field of view stays.")] = (
        FIELD_OF_VIEW_PIXELS
    ),
    workers: Annotated[int, typer.Option(help="processes; the bytes do not depend on it.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a phantom that is in --out.")] = False,
    report: Annotated[bool, typer.Option("--report", help="print the Dice of thresholds of the maps.")] = False,
    preview: Annotated[int, typer.Option(metavar="N", help="draw N cases into OUT/preview.png.")] = 0,
    debug: Debug = False,
) -> None:
    """Write synthetic CT-perfusion cases as ISLES 2018 folders.

    Also writes patients.csv, datalist.json (training, validation, testing) and the noise-free truth in a folder apart.
    """
    counts = None if split is None else split_counts(split)
    if cases is None and counts is None:
        raise typer.BadParameter("expected --cases or --split")
    if counts is not None and cases not in (None, sum(counts)):
        raise typer.BadParameter(f"--cases {cases} is not the sum of --split {split}")

    from ..io.datalist import SECTIONS
    from ..io.splits import PAPER_COUNTS, scale_counts
    from ..phantom.cohort import generate_cohort
    from ..phantom.preview import write_preview
    from ..phantom.thresholds import report as threshold_report
    from ..phantom.thresholds import threshold_dice

    sections = generate_cohort(
        out,
        counts or scale_counts(PAPER_COUNTS, cases or 0),
        seed,
        with_dwi=not without_dwi,
        matrix=matrix,
        workers=workers,
        overwrite=overwrite,
        progress=True,
    )
    made = [case for name in SECTIONS for case in sections[name]]
    if preview:
        write_preview(out / "preview.png", out, made[:preview])
    if report:
        typer.echo(threshold_report(threshold_dice(out, made)))
    typer.echo(f"{out}: " + ", ".join(f"{len(sections[name])} {name}" for name in SECTIONS))
