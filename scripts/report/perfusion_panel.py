"""The picture of an examination: its slices, what was found on them, the curves, and the reading in words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from ..io.atomic import atomic_path
from ..perfusion.core_and_mismatch import Reading
from ..perfusion.thresholds import ReadingThresholds
from ..perfusion.volumes import PerfusionVolumes
from ..perfusion.wording import RESEARCH_ONLY, flag_lines, volume_lines
from .radiological_view import View, view_of
from .scales import COLORS, CT, MAPS, PNG, Scale

_MOST_SLICES = 6
_CELL_INCH = 1.75  # height
_TEXT_INCH, _BAR_INCH, _LABEL_INCH = 4.6, 0.75, 0.35
_DPI = 110
_LINE_LETTERS = 60
_LEGEND_PT = 75.0


def write_panel(
    path: Path,
    maps: PerfusionVolumes,
    reading: Reading,
    core: Tensor,
    delayed: Tensor,
    affine: NDArray[np.float64],
    title: str,
    warnings: Sequence[str] = (),
    thresholds: ReadingThresholds | None = None,
) -> None:
    """Draw up to six slices (columns) of the CT and the maps (rows), and beside them the reading and the curves.

    Slices are shown as radiologists look at them: the patient's front on top and right on the left, cropped to the
    brain, all at one scale; those with most core and delay, evenly spaced ones where no side is affected.

    Args:
        path: the PNG file.
        maps: what `perfusion_maps` returned.
        reading: what `read_maps` returned, as the two masks.
        core: boolean (H, W, D).
        delayed: boolean (H, W, D).
        affine: voxel indices to mm (RAS+).
        title: text above the picture.
        warnings: those of the quality control, in words.
        thresholds: those of the reading, the defaults if None.
    """
    nothing = core & False
    lesion = (core, delayed) if reading.side != "none" else (nothing, nothing)
    view = view_of(maps.brain, *lesion, affine, _MOST_SLICES)
    height, width = view.strip(maps.brain).shape
    aspect = width * view.pixel_mm[1] / (height * view.pixel_mm[0])
    left_inch = _CELL_INCH * aspect + _BAR_INCH + _LABEL_INCH
    height_inch = (len(MAPS) + 2) * _CELL_INCH + 0.75
    figure = Figure(figsize=(left_inch + _TEXT_INCH, height_inch), facecolor="black")
    FigureCanvasAgg(figure)
    halves = figure.add_gridspec(1, 2, width_ratios=(left_inch, _TEXT_INCH), left=0, right=1, top=1, bottom=0, wspace=0)
    left, right = (figure.add_subfigure(half) for half in (halves[0], halves[1]))
    _draw_slices(left, maps, core, delayed, view, left_inch, height_inch)
    _write_reading(right, maps, view, reading, title, warnings, thresholds or ReadingThresholds())
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, facecolor="black", format="png", pil_kwargs=PNG)


def _draw_slices(
    figure: SubFigure,
    maps: PerfusionVolumes,
    core: Tensor,
    delayed: Tensor,
    view: View,
    width_inch: float,
    height_inch: float,
) -> None:
    """Each row is one picture of all slices next to each other."""
    axes = figure.subplots(
        len(MAPS) + 2,
        gridspec_kw={
            "left": _LABEL_INCH / width_inch,
            "right": 1 - _BAR_INCH / width_inch,
            "top": 1 - 0.45 / height_inch,
            "bottom": 0.1 / height_inch,
            "hspace": 0.02,
        },
    )
    aspect = view.pixel_mm[0] / view.pixel_mm[1]
    for axis, title in zip(axes, ("CT", *(scale.title for scale in MAPS), "core and penumbra"), strict=True):
        axis.set_facecolor("black")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(title, color="white", fontsize=10)
        for x, letter, align in ((0.004, "R", "left"), (0.996, "L", "right")):  # radiological view
            axis.text(
                x, 0.98, letter, color="white", fontsize=11, weight="bold", va="top", ha=align, transform=axis.transAxes
            )
    for axis in (axes[0], axes[-1]):
        axis.imshow(view.strip(maps.baseline), cmap="gray", vmin=CT.limits[0], vmax=CT.limits[1], aspect=aspect)
    for column, label in enumerate(view.labels):
        place = (column + 0.5) / len(view.labels)
        axes[0].text(place, 1.02, f"slice {label}", color="white", fontsize=9, ha="center", transform=axes[0].transAxes)
    strips = {"core": view.strip(core), "delay": view.strip(delayed)}
    for name in ("delay", "core"):  # the core on top
        if strips[name].any():
            axes[0].contour(strips[name], levels=[0.5], colors=COLORS[name], linewidths=1.0)
    for name, mask, marker in (("AIF", maps.arterial.aif_mask, "s"), ("VOF", maps.arterial.vof_mask, "^")):
        rows, places = np.nonzero(view.strip(mask))
        axes[0].scatter(places, rows, s=9, color=COLORS[name], marker=marker, linewidths=0)
    _fill(axes[-1], strips["core"], strips["delay"], aspect)
    empty = ~view.strip(maps.brain) | (view.strip(maps.cbf) == 0)
    for axis, scale in zip(axes[1:], MAPS, strict=False):
        shown = np.ma.masked_where(empty, view.strip(getattr(maps, scale.name)))
        axis.imshow(shown, cmap=scale.colors, vmin=scale.limits[0], vmax=scale.limits[1], aspect=aspect)
        _color_bar(figure, axis, scale, width_inch)
    _color_bar(figure, axes[0], CT, width_inch)


def _fill(axis: Axes, core: NDArray, delayed: NDArray, aspect: float) -> None:
    """The core and what of the delay lies outside it, each filled."""
    layer = np.zeros((*core.shape, 4))
    for mask, name, opacity in ((delayed & ~core, "delay", 0.55), (core, "core", 0.8)):
        layer[mask] = to_rgba(COLORS[name], opacity)
    axis.imshow(layer, aspect=aspect)


def _color_bar(figure: SubFigure, axis: Axes, scale: Scale, width_inch: float) -> None:
    place = axis.get_position()
    left, width = place.x1 + 0.06 / width_inch, 0.1 / width_inch
    bar_axis = figure.add_axes((left, place.y0 + 0.06 * place.height, width, 0.88 * place.height))
    bar = figure.colorbar(ScalarMappable(Normalize(*scale.limits), scale.colors), cax=bar_axis)
    bar.set_label(f"{scale.title} [{scale.unit}]", color="white", fontsize=8)
    bar.ax.tick_params(colors="white", labelsize=7)
    bar.outline.set_visible(False)


def _write_reading(
    figure: SubFigure,
    maps: PerfusionVolumes,
    view: View,
    reading: Reading,
    title: str,
    warnings: Sequence[str],
    limits: ReadingThresholds,
) -> None:
    grid = figure.add_gridspec(
        2, 1, height_ratios=(2.6, 1.0), left=0.13, right=0.96, top=0.985, bottom=0.06, hspace=0.16
    )
    axis = figure.add_subplot(grid[0])
    axis.axis("off")
    has_intervals = reading.core_ml_interval is not None
    blocks = [
        (title, 13, "white", "bold"),
        (RESEARCH_ONLY, 11, "#F0E442", "bold"),
        ("\n".join(volume_lines(reading, limits)), 12, "white", "normal"),
        ("(in brackets: interval of 90 %)" if has_intervals else "", 9, "0.7", "normal"),
        ("\n".join(flag_lines(reading)), 12, "white", "normal"),
        ("both need an occluded artery; DAWN also age and NIHSS", 9, "0.7", "normal"),
        *((_wrapped(f"Caution: {caution}"), 9, "#F0E442", "normal") for caution in reading.cautions),
        *((_wrapped(f"Warning: {warning}"), 9, "#FFB000", "normal") for warning in warnings),
    ]
    y = 1.0
    height_pt = axis.get_position().height * figure.bbox.height / figure.figure.dpi * 72
    blocks = [block for block in blocks if block[0]]
    for index, (text, size, color, weight) in enumerate(blocks):
        below = y - (1.42 * size * (text.count("\n") + 1) + 6) / height_pt
        if below < _LEGEND_PT / height_pt:
            axis.text(0, y, f"and {len(blocks) - index} more, see summary.json", fontsize=8.5, color="white", va="top")
            break
        axis.text(0, y, text, fontsize=size, color=color, weight=weight, va="top", linespacing=1.35)
        y = below
    _legend(axis, maps, view, limits)
    _draw_curves(figure.add_subplot(grid[1]), maps)


def _wrapped(text: str) -> str:
    return textwrap.fill(text.replace("_", " "), _LINE_LETTERS)


def _legend(axis: Axes, maps: PerfusionVolumes, view: View, limits: ReadingThresholds) -> None:
    aif, vof = (_places(view.slices_of(mask)) for mask in (maps.arterial.aif_mask, maps.arterial.vof_mask))
    handles = (
        Patch(color=COLORS["core"], label=f"core: rCBF < {limits.core_rcbf:.0%}, Tmax > {limits.hypoperfusion_s:g} s"),
        Patch(color=COLORS["delay"], label=f"penumbra: other tissue with Tmax > {limits.hypoperfusion_s:g} s"),
        Line2D(
            [], [], color=COLORS["AIF"], marker="s", linestyle="", markersize=4, label=f"arterial voxels (AIF){aif}"
        ),
        Line2D([], [], color=COLORS["VOF"], marker="^", linestyle="", markersize=4, label=f"venous voxels (VOF){vof}"),
    )
    axis.legend(handles=handles, loc="lower left", fontsize=8.5, labelcolor="white", frameon=False, borderaxespad=0)


def _places(slices: list[int]) -> str:
    if len(slices) > _MOST_SLICES:
        return f": {len(slices)} slices"
    return f": slice {', '.join(map(str, slices))}" if slices else ": none"


def _draw_curves(axis: Axes, maps: PerfusionVolumes) -> None:
    arterial = maps.arterial
    time_s = np.arange(len(arterial.aif_hu)) * maps.dt_s
    curves = [("AIF", "AIF as measured", arterial.aif_hu / arterial.scale, "-"), ("VOF", "VOF", arterial.vof_hu, "-")]
    if arterial.scale > 1:
        curves.append(("AIF", f"AIF x {arterial.scale:.2f}, as used", arterial.aif_hu, ":"))
    for color, label, curve, style in curves:
        axis.plot(time_s, curve.cpu().numpy(), color=COLORS[color], label=label, linestyle=style, linewidth=1.3)
    axis.axvspan(0, (maps.n_baseline - 1) * maps.dt_s, color="0.3", label="baseline", linewidth=0)
    axis.set_facecolor("black")
    axis.spines[:].set_color("0.5")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors="white", labelsize=8)
    axis.set_xlim(0, time_s[-1])
    axis.set_xlabel("time after the first frame [s]", color="white", fontsize=9)
    axis.set_ylabel("enhancement [HU]", color="white", fontsize=9)
    axis.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        fontsize=8,
        labelcolor="white",
        frameon=False,
        ncols=2,
        borderaxespad=0,
    )
