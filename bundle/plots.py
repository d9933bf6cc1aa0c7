"""The plots of the results page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.io import atomic_path
from scripts.metrics import by_stratum
from scripts.metrics.strata import LARGE, MEDIUM, SMALL

from .report import Method

COLOURS = ("#d1495b", "#00798c", "#8d96a3", "#66a182", "#edae49")


def plot_results(methods: Sequence[Method], out: Path) -> None:
    """Draw volumes, their differences, and Dice by lesion size, and write them as one PNG.

    Args:
        methods: the network first, the threshold chosen on training cases second.
        out: the file.
    """
    figure = Figure(figsize=(13, 4.2), dpi=150, layout="constrained")
    scatter, difference, sizes = figure.subplots(1, 3)
    _scatter(scatter, methods[:2])
    _bland_altman(difference, methods[0])
    _dice_by_size(sizes, methods)
    for axes in (scatter, difference, sizes):
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = sizes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(methods), frameon=False, fontsize=9)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _volumes(method: Method) -> tuple[np.ndarray, np.ndarray]:
    true, predicted = (np.array([row[key] for row in method.rows]) for key in ("volume_ml", "predicted_volume_ml"))
    return true, predicted


def _scatter(axes: Axes, methods: Sequence[Method]) -> None:
    for method, colour, marker in zip(methods, COLOURS, "ox", strict=False):
        axes.scatter(*_volumes(method), s=22, c=colour, marker=marker, linewidths=1.2, alpha=0.85)
    limit = 1.3 * max(float(np.max(values)) for method in methods for values in _volumes(method)) + 1
    axes.plot([0, limit], [0, limit], color="black", linewidth=0.8, linestyle=":")
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_yscale("symlog", linthresh=1.0)
    ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300) if tick < limit]
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlim=(-0.3, limit), ylim=(-0.3, limit), xlabel="true volume (ml)", ylabel="predicted volume (ml)")
    axes.set_title("Lesion volumes", fontsize=10)


def _bland_altman(axes: Axes, method: Method) -> None:
    true, predicted = _volumes(method)
    difference = predicted - true
    axes.scatter((true + predicted) / 2, difference, s=22, c=COLOURS[0], alpha=0.85)
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1) if difference.size > 1 else 0.0
    for value, style in ((bias, "-"), (bias - spread, "--"), (bias + spread, "--")):
        axes.axhline(value, color="black", linewidth=0.8, linestyle=style)
        axes.annotate(
            f"{value:+.1f}", (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
        )
    axes.set(xlabel="mean of both volumes (ml)", ylabel="predicted - true volume (ml)")
    axes.set_title(f"{method.title}: bias and 95 % limits of agreement", fontsize=10)


def _dice_by_size(axes: Axes, methods: Sequence[Method]) -> None:
    groups = (SMALL, MEDIUM, LARGE)
    width = 0.8 / len(methods)
    for index, (method, colour) in enumerate(zip(methods, COLOURS, strict=True)):
        strata = by_stratum(method.rows)
        values = [[row["dice"] for row in strata[group]] for group in groups]
        places = np.arange(len(groups)) + (index - (len(methods) - 1) / 2) * width
        filled = [(place, dice) for place, dice in zip(places, values, strict=True) if dice]
        boxes = axes.boxplot(
            [dice for _, dice in filled],
            positions=[place for place, _ in filled],
            widths=0.85 * width,
            patch_artist=True,
            medianprops={"color": "black"},
            flierprops={"markersize": 2},
        )
        for box in boxes["boxes"]:
            box.set(facecolor=colour, alpha=0.8, linewidth=0.6)
        axes.bar([0], [0], color=colour, alpha=0.8, label=method.title)  # for the legend alone
    counts = [len(by_stratum(methods[0].rows)[group]) for group in groups]
    axes.set_xticks(
        range(len(groups)), [f"{group}\nn = {n}" for group, n in zip(groups, counts, strict=True)], fontsize=8
    )
    axes.set(xlim=(-0.5, len(groups) - 0.5), ylim=(-0.02, 1), ylabel="Dice")
    axes.set_title("Dice by lesion size", fontsize=10)
