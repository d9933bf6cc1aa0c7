"""Say whether what was measured now is as good as what was measured before.

Ratios and memory are compared, not times: those depend on the machine and what else it does. A difference in values
or a share is worse only where it no longer keeps its limit.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..report import markdown_table
from .measurement import MIB, TIMES, Figure, Record, read_record
from .page import figure_text

HELP = "compare two JSON files; fails where a ratio got worse"


class Change(NamedTuple):
    """A figure in two records, and whether it got worse."""

    benchmark: str
    case: str
    name: str
    old: Figure
    new: Figure
    worse: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("old", type=Path, help="JSON file of an earlier run")
    parser.add_argument("new", type=Path, help="JSON file of a later run")
    parser.add_argument(
        "--tolerance", type=float, default=0.15, help="by which part a ratio may get worse (default: 0.15)"
    )


def run(args: argparse.Namespace) -> None:
    """Print what both files have, and raise where something got worse.

    Raises:
        ValueError: a figure got worse, or the files cannot be compared.
    """
    changes = compare(read_record(args.old), read_record(args.new), args.tolerance)
    body = [
        [
            f"{change.benchmark}: {change.case}",
            change.name,
            figure_text(change.old),
            figure_text(change.new),
            "**worse**" if change.worse else "as good",
        ]
        for change in changes
    ]
    print(markdown_table(["case", "figure", "old", "new", ""], body))
    worse = [f"{change.benchmark}, {change.case}: {change.name}" for change in changes if change.worse]
    if worse:
        raise ValueError(f"{len(worse)} of {len(changes)} figures got worse: {'; '.join(worse)}")


def compare(old: Record, new: Record, tolerance: float = 0.15) -> list[Change]:
    """The figures that both records have.

    Args:
        old: an earlier record.
        new: a later one.
        tolerance: by which part a ratio or a memory may get worse.

    Raises:
        ValueError: the records share no figure, or one is quick and the other is not, or they are of different kinds
            of devices.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance must not be negative, got {tolerance}")
    for name in ("quick", "device"):
        if getattr(old, name) != getattr(new, name):
            raise ValueError(f"the records differ in {name}: {getattr(old, name)} and {getattr(new, name)}")
    changes = list(_changes(old, new, tolerance))
    if not changes:
        raise ValueError("the records have no figure in common")
    return changes


def _changes(old: Record, new: Record, tolerance: float) -> Iterator[Change]:
    for benchmark, found in new.found.items():
        before = {row.case: row.figures for row in old.found[benchmark].rows} if benchmark in old.found else {}
        for row in found.rows:
            for name, figure in row.figures.items():
                if name in before.get(row.case, {}):
                    was = before[row.case][name]
                    yield Change(benchmark, row.case, name, was, figure, is_worse(was, figure, tolerance))


def is_worse(old: Figure, new: Figure, tolerance: float) -> bool:
    """Whether a figure got worse by more than the tolerance, or, if it is no ratio, lost its limit."""
    if new.unit not in (TIMES, MIB):
        return old.met and not new.met
    if new.higher_is_better:
        return new.value < old.value * (1 - tolerance)
    return new.value > old.value * (1 + tolerance)
