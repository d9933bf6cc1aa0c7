"""The picture of what a benchmark found."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from scripts.io import atomic_path

from ..plots import COLOURS
from .measurement import Found, Scaling

_LOGARITHMIC = 4.0
"""Largest over smallest value from which on an axis of values is logarithmic: below, it would have hardly a tick."""


def plot_found(found: Found, out: Path) -> None:
    """Draw the times with their quartiles, and one row of panels for each thing that grows, into one PNG."""
    rows = 1 + len(found.scaling)
    figure = Figure(figsize=(10, 1.2 + 0.3 * len(found.rows) + 3 * len(found.scaling)), dpi=120, layout="constrained")
    heights = [1.2 + 0.3 * len(found.rows), *[3.0] * len(found.scaling)]
    grid = figure.add_gridspec(rows, 2, height_ratios=heights)
    _draw_times(figure.add_subplot(grid[0, :]), found)
    for index, scaling in enumerate(found.scaling):
        panels = [
            (scaling.time_ms, "time (ms)"),
            (scaling.memory_mib, "peak memory (MiB)"),
        ]
        filled = [panel for panel in panels if panel[0]]
        for column, (curves, label) in enumerate(filled):
            place = grid[index + 1, column] if len(filled) == 2 else grid[index + 1, :]
            _draw_curves(figure.add_subplot(place), scaling, curves, label)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_times(axes: Axes, found: Found) -> None:
    timed = [(row.case, row.timing) for row in found.rows if row.timing is not None][::-1]
    medians = np.array([timing.median_ms for _, timing in timed])
    quartiles = np.array([timing.quartiles_ms for _, timing in timed]).reshape(-1, 2)
    spread = np.abs(quartiles - medians[:, None]).T
    axes.barh(range(len(timed)), medians, xerr=spread, color=COLOURS[1], alpha=0.85, error_kw={"linewidth": 1})
    axes.set_yticks(range(len(timed)), [case for case, _ in timed], fontsize=8)
    axes.set(xscale="log", xlabel="time (ms), median and quartiles")


def _draw_curves(axes: Axes, scaling: Scaling, curves: Mapping[str, Sequence[float]], label: str) -> None:
    for (name, values), colour in zip(curves.items(), COLOURS * len(curves), strict=False):
        axes.plot(scaling.points, values, marker="o", markersize=4, color=colour, label=name)
    axes.set(xscale="log", xlabel=scaling.axis, ylabel=label)
    axes.set_xticks(scaling.points)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    drawn = [value for values in curves.values() for value in values]
    if max(drawn) > _LOGARITHMIC * min(drawn):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
