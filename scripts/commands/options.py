"""Options that several subcommands have, and how their values are checked."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer


def not_negative(value: float) -> float:
    """A finite number of at least 0."""
    if not 0 <= value < math.inf:
        raise typer.BadParameter(f"expected a finite number that is not negative, got {value:g}")
    return value


def orientation_letters(value: str | None) -> str | None:
    """Three letters, in capitals, one of each axis of the body."""
    if value is None:
        return None
    letters = value.upper()
    if not re.fullmatch("(?=.*[RL])(?=.*[AP])(?=.*[SI])[RLAPSI]{3}", letters):
        raise typer.BadParameter(f"expected one letter each of R or L, A or P, S or I, such as RAS, got {value}")
    return letters


def split_counts(value: str) -> tuple[int, int, int]:
    """Three numbers of cases, such as 65/6/23."""
    match = re.fullmatch(r"(\d+)/(\d+)/(\d+)", value)
    if match is None or not any(map(int, match.groups())):
        raise typer.BadParameter(f"expected three numbers of cases such as 65/6/23, got '{value}'")
    return int(match[1]), int(match[2]), int(match[3])


def _remember(context: typer.Context, value: bool) -> bool:
    context.obj["debug"] = context.obj["debug"] or value
    return value


Debug = Annotated[
    bool, typer.Option("--debug", help="show the traceback of an error.", callback=_remember, is_eager=True)
]
Interval = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="time between frames; default: from DICOM, the sidecar or the header.",
        show_default=False,
    ),
]
Times = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="file with the time of every frame in s: text, JSON or BIDS sidecar; default: the sidecar, if any.",
        show_default=False,
        exists=True,
        dir_okay=False,
    ),
]
SeriesUid = Annotated[
    str | None,
    typer.Option(
        "--series", metavar="UID", help="of a DICOM study: the series to read; default: found.", show_default=False
    ),
]
Identify = Annotated[
    bool, typer.Option("--identify", help="of DICOM studies: name cases by the patient's ID, not by a hash.")
]
Orientation = Annotated[
    str | None,
    typer.Option(
        metavar="LETTERS",
        help="directions of the voxel axes, such as LPS, if the header lacks them.",
        callback=orientation_letters,
        show_default=False,
    ),
]
