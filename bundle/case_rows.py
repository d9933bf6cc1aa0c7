"""The rows of a metrics.csv."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from scripts.metrics import METRICS

_LATER = {"lesion_count_difference", "lesion_f1"}
"""Evaluations of earlier versions lack these."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a metrics.csv as :class:`scripts.metrics.CaseMetrics` writes it; an empty cell is NaN, as is a metric of
    later versions.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it has no rows, or a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"case", *METRICS} - _LATER <= set(rows[0]):
        raise ValueError(f"metrics '{path}': expected rows with the columns case, {', '.join(METRICS)}")
    return [{"case": row["case"]} | {name: float(row.get(name) or np.nan) for name in METRICS} for row in rows]
