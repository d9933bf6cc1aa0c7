"""`ctp-stroke agreement`: computed maps against the given ones of a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .maps import Method
from .options import Debug, Interval

NAME = "agreement"
EXAMPLES = "Example: ctp-stroke agreement data/isles2018/datalist.json --out agreement"


def run(
    datalist: Annotated[
        Path,
        typer.Argument(
            help="datalist of cases with given CBF, CBV and Tmax (MTT and label optional).",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="where to write.")],
    section: Annotated[str, typer.Option(help="section of the datalist.")] = "testing",
    method: Annotated[Method, typer.Option(help="estimate of the maps.")] = "bayesian",
    dt_s: Interval = None,
    seed: Annotated[int, typer.Option(help="seed of the split into halves.", min=0)] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="compute complete cases again, and replace results of other series.")
    ] = False,
    debug: Debug = False,
) -> int:
    """Compute the maps of each case and compare them with the given maps: voxels, masks, volumes, DEFUSE 3.

    Writes agreement.csv (a row for each case), agreement.md (the tables), agreement.json and agreement.png
    (Bland-Altman and scatter plots). A case that fails does not stop the others; the exit status is then 1. Complete
    cases are kept.
    """
    from tqdm import tqdm

    from ..io.covering import refuse_covering
    from ..io.datalist import load_datalist
    from ..metrics.agreement_summary import summarize_agreement
    from ..report.agreement_page import FILES, write_agreement
    from ..workflow.case_dataset import failure_line
    from .case_agreement import case_agreement

    cases = load_datalist(datalist, section, datalist.parent, check=False)
    inputs = [value for case in cases for value in case.values() if isinstance(value, str)]
    refuse_covering([out / name for name in FILES], [datalist, *inputs])
    found, failures = [], []
    for case in tqdm(cases, unit="case", leave=False, disable=None):
        name = str(case["case"])
        try:
            result = case_agreement(case, out / "cases" / name, method=method, dt_s=dt_s, overwrite=overwrite)
        except Exception as error:  # whatever it is, the other cases are not to blame
            failures.append(failure_line(name, error))
            tqdm.write(f"error: {failures[-1]}", file=sys.stderr)
        else:
            found.append(result)
            tqdm.write(f"{name}: {_line(result.row)}")
    if found:
        rows = [result.row for result in found]
        summary = summarize_agreement(rows, [result.threshold_dice for result in found], seed)
        title = f"{datalist.name}, section {section}, maps by {method}"
        page = write_agreement(out, rows, summary, title=title, failures=failures)
        typer.echo(f"{len(found)} of {len(cases)} cases: {page}")
    return int(bool(failures))


def _line(row: dict) -> str:
    return (
        f"Tmax > 6 s {row['delay_ml']:.1f} ml (given {row['given_delay_ml']:.1f}, Dice {row['delay_dice']:.2f}), "
        f"core {row['core_ml']:.1f} ml (given {row['given_core_ml']:.1f}, Dice {row['core_dice']:.2f})"
    )
