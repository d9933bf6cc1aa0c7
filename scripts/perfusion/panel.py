"""A picture of an examination: maps in the colours clinicians know, arterial voxels, and the curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ..io.atomic import atomic_path
from .maps import PerfusionVolumes

#: Name, title, unit and upper end of each map. Perfusion software shows flow, volume and times in rainbow colours.
MAPS = (
    ("cbf", "CBF", "ml/100 g/min", 80.0),
    ("cbv", "CBV", "ml/100 g", 6.0),
    ("mtt", "MTT", "s", 15.0),
    ("tmax", "Tmax", "s", 12.0),
)
_MOST_SLICES = 6
_GREY_WINDOW_HU = (0.0, 80.0)


def write_panel(
    path: Path, maps: PerfusionVolumes, core: Tensor, delayed: Tensor, affine: NDArray[np.float64], title: str
) -> None:
    """Draw slices of the maps with colour bars, core and delay outlined, and the arterial and venous curves.

    Args:
        path: the PNG file.
        maps: what `perfusion_maps` returned.
        core: boolean (H, W, D).
        delayed: boolean (H, W, D).
        affine: voxel indices to mm (RAS+); slices are shown with the patient's front on top and right on the left.
        title: text above the picture.
    """
    n_slices = maps.brain.shape[2]
    shown = np.unique(np.linspace(0, n_slices - 1, min(n_slices, _MOST_SLICES)).round().astype(int))
    columns = len(shown)
    figure = Figure(figsize=(2.1 * columns + 2.2, 2.1 * (len(MAPS) + 1) + 2.4), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(MAPS) + 2, columns, height_ratios=[1] * (len(MAPS) + 1) + [1.1])
    figure.suptitle(title, color="white", fontsize=11)
    axes = np.array(
        [[figure.add_subplot(grid[row, column]) for column in range(columns)] for row in range(len(MAPS) + 1)]
    )
    views = {name: _view(getattr(maps, name), affine) for name, *_ in MAPS}
    brain = _view(maps.brain, affine)
    marks = {name: _view(mask, affine) for name, mask in (("core", core), ("delay", delayed))}
    vessels = {"AIF": _view(maps.arterial.aif_mask, affine), "VOF": _view(maps.arterial.vof_mask, affine)}
    colours = {"core": "magenta", "delay": "lime", "AIF": "red", "VOF": "deepskyblue"}
    for column, index in enumerate(shown):
        axis = axes[0, column]
        axis.imshow(
            _view(maps.baseline, affine)[..., index], cmap="gray", vmin=_GREY_WINDOW_HU[0], vmax=_GREY_WINDOW_HU[1]
        )
        for name, mask in marks.items():
            if mask[..., index].any():
                axis.contour(mask[..., index], levels=[0.5], colors=colours[name], linewidths=0.8)
        for name, mask in vessels.items():
            rows, places = np.nonzero(mask[..., index])
            axis.scatter(places, rows, s=6, color=colours[name], marker="s", linewidths=0)
        axis.set_title(f"slice {index}", color="white", fontsize=8)
        for row, (name, label, unit, top) in enumerate(MAPS, start=1):
            axis = axes[row, column]
            image = axis.imshow(
                np.ma.masked_where(~brain[..., index], views[name][..., index]), cmap="jet", vmin=0, vmax=top
            )
            if column == columns - 1:
                bar = figure.colorbar(image, ax=axes[row, :].tolist(), fraction=0.03, pad=0.01)
                bar.set_label(f"{label} [{unit}]", color="white", fontsize=8)
                bar.ax.tick_params(colors="white", labelsize=7)
    for axis in axes.reshape(-1):
        axis.set_facecolor("black")
        axis.set_xticks([])
        axis.set_yticks([])
    _draw_curves(figure.add_subplot(grid[-1, :]), maps, colours)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, facecolor="black", format="png")


def _draw_curves(axis: Axes, maps: PerfusionVolumes, colours: dict[str, str]) -> None:
    arterial = maps.arterial
    time_s = np.arange(len(arterial.aif_hu)) * maps.dt_s
    for name, curve in (("AIF", arterial.aif_hu / arterial.scale), ("VOF", arterial.vof_hu)):
        axis.plot(time_s, curve.cpu().numpy(), color=colours[name], label=name, linewidth=1.2)
    if arterial.scale > 1:
        scaled = arterial.aif_hu.cpu().numpy()
        axis.plot(time_s, scaled, color=colours["AIF"], linestyle=":", label=f"AIF x {arterial.scale:.2f}", linewidth=1)
    axis.axvspan(0, (maps.n_baseline - 1) * maps.dt_s, color="0.25", label="baseline")
    for name, text in (("core", "core outlined"), ("delay", "delay outlined")):
        axis.plot([], [], color=colours[name], label=text)
    axis.set_facecolor("black")
    axis.tick_params(colors="white", labelsize=7)
    axis.set_xlabel("time [s]", color="white", fontsize=8)
    axis.set_ylabel("enhancement [HU]", color="white", fontsize=8)
    axis.legend(fontsize=7, facecolor="black", labelcolor="white", ncols=3)


def _view(volume: Tensor, affine: NDArray[np.float64]) -> NDArray:
    """Slices as radiologists look at them: rows from front to back, columns from the patient's right to the left."""
    array = volume.cpu().numpy()
    direction = affine[:2, :2]
    if abs(direction[0, 1]) > abs(direction[0, 0]):  # the first axis runs between front and back
        array, direction = array.swapaxes(0, 1), direction[:, ::-1]
    if direction[0, 0] > 0:
        array = array[::-1]
    if direction[1, 1] > 0:
        array = array[:, ::-1]
    return array.swapaxes(0, 1)
