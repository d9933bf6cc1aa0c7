"""`ctp-stroke demo`: one synthetic case, segmented and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug
from .segment import segment

NAME = "demo"
EXAMPLES = "Example: ctp-stroke demo"

SEED = 11
"""A patient whose lesion is easy to see; neither trained nor tested on. `docs/results.md` has the harder ones too."""


def run(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="where to write everything.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="of the synthetic case.")] = SEED,
    matrix: Annotated[int, typer.Option(help="pixels along a side of a slice.")] = 256,
    debug: Debug = False,
) -> int:
    """Make one synthetic case, segment it with the weights that ship, compute its maps, draw it with the truth."""
    from ..phantom import ensure_cohort

    data = out / f"data_seed{seed}"
    ensure_cohort(data, (0, 0, 1), seed, workers=1, matrix=matrix)
    return segment([data], out, {}, maps=True, overwrite=True)
