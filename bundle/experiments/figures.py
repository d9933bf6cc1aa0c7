"""The plot of a table."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.io import atomic_path
from scripts.metrics import by_stratum
from scripts.metrics.strata import LARGE, MEDIUM, SMALL

from .outcome import Outcome
from .published import Table

GROUPS = (SMALL, MEDIUM, LARGE)


def plot_table(table: Table, done: Sequence[Outcome], out: Path) -> None:
    """Draw the Dice of each row beside the paper's, and Dice and RVE by lesion size (Fig. 10 of Wang 2020), as PNG.

    Args:
        table: what the paper has.
        done: the rows that have results.
        out: the file.
    """
    colours = [matplotlib.colormaps["tab10"](index % 10) for index in range(len(done))]
    figure = Figure(figsize=(15, 0.42 * len(done) + 3.2), dpi=110, layout="constrained")
    rows, dice, error = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.2))
    _dice_of_rows(rows, table, done, colours)
    _boxes_by_size(dice, done, "dice", colours)
    dice.set(ylim=(-0.03, 1.03), ylabel="Dice", title="Dice by lesion size")
    _boxes_by_size(error, done, "relative_volume_error", colours)
    error.set_yscale("symlog", linthresh=1)
    error.set_yticks(ticks := [0, 0.5, 1, 2, 5, 10, 20, 50], [f"{tick:g}" for tick in ticks])
    error.minorticks_off()
    error.set(ylabel="relative volume error", title="Relative volume error by lesion size")
    error.set_ylim(-0.05, max(1.0, 1.2 * error.dataLim.y1))
    for axes in (rows, dice, error):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _dice_of_rows(axes: Axes, table: Table, done: Sequence[Outcome], colours: Sequence[tuple]) -> None:
    """Mean and standard deviation of each row from the top down, the paper's as a hollow diamond below."""
    for place, (outcome, colour) in enumerate(zip(done, colours, strict=True)):
        dice = np.array([row["dice"] for row in outcome.lesions])
        axes.errorbar(dice.mean(), place - 0.12, xerr=dice.std(ddof=1) if dice.size > 1 else 0, fmt="o", color=colour)
        if "dice" in outcome.published.values:
            mean, *sd = (value / table.metrics["dice"].scale for value in outcome.published.values["dice"])
            axes.errorbar(
                mean, place + 0.18, xerr=sd or None, fmt="D", color="#909090", markerfacecolor="white", markersize=4
            )
    axes.set_yticks(range(len(done)), [outcome.published.title for outcome in done])
    axes.set(xlim=(0, 1), ylim=(len(done) - 0.5, -0.5), xlabel="Dice, mean ± standard deviation over cases")
    axes.set_title("here (●) and, on ISLES 2018, the paper's (◇)" if table.rows else "on the same cases")


def _boxes_by_size(axes: Axes, done: Sequence[Outcome], metric: str, colours: Sequence[tuple]) -> None:
    width = 0.8 / len(done)
    for index, (outcome, colour) in enumerate(zip(done, colours, strict=True)):
        strata = by_stratum(outcome.cases)
        places = np.arange(len(GROUPS)) + (index - (len(done) - 1) / 2) * width
        values = [[row[metric] for row in strata[group]] for group in GROUPS]
        boxes = axes.boxplot(
            values, positions=places, widths=0.85 * width, patch_artist=True, manage_ticks=False,
            medianprops={"color": "black"}, flierprops={"markersize": 2},
        )  # fmt: skip
        for box in boxes["boxes"]:
            box.set(facecolor=colour, alpha=0.8, linewidth=0.6)
        if metric == "dice" and outcome.published.dice_by_size:
            published = [value / 100 for value in outcome.published.dice_by_size]
            axes.plot(places, published, "D", color="#606060", markerfacecolor="white", markersize=5, zorder=5)
    counts = by_stratum(done[0].cases)
    axes.set_xticks(range(len(GROUPS)), [f"{group}\nn = {len(counts[group])}" for group in GROUPS], fontsize=8)
    axes.set_xlim(-0.5, len(GROUPS) - 0.5)
