"""The plots of the pages: of the results, of a paper's table, and of true and computed maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.io import atomic_path
from scripts.metrics import by_stratum
from scripts.metrics.strata import LARGE, MEDIUM, SMALL

if TYPE_CHECKING:
    from .experiments.outcome import Outcome
    from .experiments.published import Table
    from .results_page import Method

COLORS = ("#d1495b", "#00798c", "#8d96a3", "#66a182", "#edae49")
GROUPS = (SMALL, MEDIUM, LARGE)


def save(figure: Figure, out: Path, axes: Sequence[Axes] = ()) -> None:
    """Write a figure as PNG, the same bytes each time; the axes lose their upper and right lines."""
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.title.set_fontsize(10)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def plot_results(methods: "Sequence[Method]", out: Path) -> None:
    """Draw volumes, their differences, and Dice by lesion size, and write them as one PNG.

    Args:
        methods: the network first, the threshold chosen on training cases second.
        out: the file.
    """
    figure = Figure(figsize=(13, 4.2), dpi=150, layout="constrained")
    scatter, difference, sizes = figure.subplots(1, 3)
    _scatter(scatter, methods[:2])
    _bland_altman(difference, methods[0])
    _boxes_by_size(sizes, [method.rows for method in methods], "dice", COLORS)
    for method, color in zip(methods, COLORS, strict=True):
        sizes.bar([0], [0], color=color, alpha=0.8, label=method.title)  # for the legend alone
    sizes.set(ylim=(-0.02, 1), ylabel="Dice", title="Dice by lesion size")
    handles, labels = sizes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(methods), frameon=False, fontsize=9)
    save(figure, out, (scatter, difference, sizes))


def plot_table(table: "Table", done: "Sequence[Outcome]", out: Path) -> None:
    """Draw the Dice of each row next to the paper's, and Dice and RVE by lesion size (Fig. 10 of Wang 2020), as PNG.

    Args:
        table: what the paper has.
        done: the rows that have results.
        out: the file.
    """
    colors = [matplotlib.colormaps["tab10"](index % 10) for index in range(len(done))]
    figure = Figure(figsize=(15, 0.42 * len(done) + 3.2), dpi=110, layout="constrained")
    rows, dice, error = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.2))
    _dice_of_rows(rows, table, done, colors)
    cases = [outcome.cases for outcome in done]
    _boxes_by_size(dice, cases, "dice", colors, [outcome.published.dice_by_size for outcome in done])
    dice.set(ylim=(-0.03, 1.03), ylabel="Dice", title="Dice by lesion size")
    _boxes_by_size(error, cases, "relative_volume_error", colors)
    error.set_yscale("symlog", linthresh=1)
    error.set_yticks(ticks := [0, 0.5, 1, 2, 5, 10, 20, 50], [f"{tick:g}" for tick in ticks])
    error.minorticks_off()
    error.set(ylabel="relative volume error", title="Relative volume error by lesion size")
    error.set_ylim(-0.05, max(1.0, 1.2 * error.dataLim.y1))
    save(figure, out, (rows, dice, error))


MapPair = tuple[str, str, float, NDArray, NDArray]


def plot_maps(maps: Sequence[MapPair], index: int, brain: NDArray, tissue: NDArray, out: Path) -> None:
    """Draw true and computed maps of a slice side by side, and one against the other in the tissue of all slices.

    Args:
        maps: title, unit, upper end of the scale, true and computed map (H, W, D).
        index: of the slice.
        brain: boolean (H, W, D).
        tissue: boolean (H, W, D).
        out: the file.
    """
    figure = Figure(figsize=(9.6, 9.4), dpi=120, layout="constrained")
    for row, (title, unit, top, true, computed) in zip(figure.subplots(len(maps), 3), maps, strict=True):
        for axes, what, volume in zip(row, ("true", "computed"), (true, computed), strict=False):
            shown = np.ma.masked_where(~brain[..., index], volume[..., index])
            image = axes.imshow(shown.T, cmap="jet", vmin=0, vmax=top, origin="lower")
            axes.set(xticks=[], yticks=[], title=f"{what} {title}")
            axes.set_facecolor("black")
        figure.colorbar(image, ax=row[1], label=f"{title} ({unit})")
        edges = np.linspace(0, top, 80)
        counts, _, _ = np.histogram2d(true[tissue], computed[tissue], bins=(edges, edges))
        row[2].imshow(np.log1p(counts.T), extent=(0, top, 0, top), origin="lower", cmap="magma")
        row[2].plot([0, top], [0, top], color="white", linewidth=0.8, linestyle=":")
        r = np.corrcoef(true[tissue], computed[tissue])[0, 1]
        row[2].set(xlabel=f"true {title} ({unit})", ylabel=f"computed ({unit})", title=f"tissue, r = {r:.2f}")
    save(figure, out)


def _volumes(method: "Method") -> tuple[NDArray, NDArray]:
    true, predicted = (np.array([row[key] for row in method.rows]) for key in ("volume_ml", "predicted_volume_ml"))
    return true, predicted


def _scatter(axes: Axes, methods: "Sequence[Method]") -> None:
    for method, color, marker in zip(methods, COLORS, "ox", strict=False):
        axes.scatter(*_volumes(method), s=22, c=color, marker=marker, linewidths=1.2, alpha=0.85)
    limit = 1.3 * max(float(np.max(values)) for method in methods for values in _volumes(method)) + 1
    axes.plot([0, limit], [0, limit], color="black", linewidth=0.8, linestyle=":")
    ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300) if tick < limit]
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_yticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set(xlim=(-0.3, limit), ylim=(-0.3, limit), xlabel="true volume (ml)", ylabel="predicted volume (ml)")
    axes.set_title("Lesion volumes")


def _bland_altman(axes: Axes, method: "Method") -> None:
    true, predicted = _volumes(method)
    difference = predicted - true
    axes.scatter((true + predicted) / 2, difference, s=22, c=COLORS[0], alpha=0.85)
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1) if difference.size > 1 else 0.0
    for value, style in ((bias, "-"), (bias - spread, "--"), (bias + spread, "--")):
        axes.axhline(value, color="black", linewidth=0.8, linestyle=style)
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        axes.annotate(f"{value:+.1f}", (1, value), fontsize=8, **place)
    axes.set(xlabel="mean of both volumes (ml)", ylabel="predicted - true volume (ml)")
    axes.set_title(f"{method.title}: bias and 95 % limits of agreement")


def _dice_of_rows(axes: Axes, table: "Table", done: "Sequence[Outcome]", colors: Sequence[Any]) -> None:
    """Mean and standard deviation of each row from the top down, the paper's as a hollow diamond below."""
    for place, (outcome, color) in enumerate(zip(done, colors, strict=True)):
        dice = np.array([row["dice"] for row in outcome.lesions])
        axes.errorbar(dice.mean(), place - 0.12, xerr=dice.std(ddof=1) if dice.size > 1 else 0, fmt="o", color=color)
        if published := outcome.published.values.get("dice"):
            mean, *sd = (value / table.metrics["dice"].scale for value in published)
            style: dict[str, Any] = {"fmt": "D", "color": "#909090", "markerfacecolor": "white", "markersize": 4}
            axes.errorbar(mean, place + 0.18, xerr=sd or None, **style)
    axes.set_yticks(range(len(done)), [outcome.published.title for outcome in done])
    axes.set(xlim=(0, 1), ylim=(len(done) - 0.5, -0.5), xlabel="Dice, mean ± standard deviation over cases")
    axes.set_title("here (●) and, on ISLES 2018, the paper's (◇)" if table.rows else "on the same cases")


def _boxes_by_size(
    axes: Axes,
    methods: Sequence[Sequence[Mapping[str, Any]]],
    metric: str,
    colors: Sequence[Any],
    published: Sequence[Sequence[float]] = (),
) -> None:
    """A box of the cases of each size for each method; a diamond where a paper has a mean (%)."""
    width = 0.8 / len(methods)
    for index, (cases, color) in enumerate(zip(methods, colors, strict=False)):
        strata = by_stratum(cases)
        places = np.arange(len(GROUPS)) + (index - (len(methods) - 1) / 2) * width
        boxes = axes.boxplot(
            [[row[metric] for row in strata[group]] for group in GROUPS],
            positions=places, widths=0.85 * width, patch_artist=True, manage_ticks=False,
            medianprops={"color": "black"}, flierprops={"markersize": 2},
        )  # fmt: skip
        for box in boxes["boxes"]:
            box.set(facecolor=color, alpha=0.8, linewidth=0.6)
        if published and published[index]:
            means = [value / 100 for value in published[index]]
            axes.plot(places, means, "D", color="#606060", markerfacecolor="white", markersize=5, zorder=5)
    counts = by_stratum(methods[0])
    axes.set_xticks(range(len(GROUPS)), [f"{group}\nn = {len(counts[group])}" for group in GROUPS], fontsize=8)
    axes.set_xlim(-0.5, len(GROUPS) - 0.5)
