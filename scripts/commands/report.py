"""`ctp-stroke report`: the report page of segmented cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug

NAME = "report"
EXAMPLES = "Example: ctp-stroke report results"


def run(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="folders of cases, or the folder that `ctp-stroke segment` wrote them into.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ],
    debug: Debug = False,
) -> int:
    """Write the report of each case: <case>_report.html, which opens offline in any browser, and <case>_report.pdf.

    The page has the volumes with their intervals, the trials' criteria, the warnings, the slices with their outlines,
    and the curves. A case that fails does not stop the others; the exit status is then 1.
    """
    from ..io.case_record import read_record
    from ..io.errors import CLEAR_ERRORS
    from ..report.case_page import write_page
    from ..report.case_results import CaseResults

    failed = 0
    for folder in folders:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and read_record(_record(path)))
        for case in inside or [folder]:
            try:
                pages = write_page(CaseResults.load(case))
            except CLEAR_ERRORS as error:
                typer.echo(f"error: {error}", err=True)
                failed += 1
            else:
                typer.echo("\n".join(map(str, pages)))
    return int(failed > 0)


def _record(folder: Path) -> Path:
    return folder / f"{folder.name}_result.json"
