"""A picture of one case: what went in, what the networks made of it, and the lesion outlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from ..io import atomic_path, load_case, read_nifti
from ..io.case import MAP_KEYS
from ..io.orientation import radiological
from .scales import COLORS, PNG

PREDICTION_COLOR, TRUTH_COLOR = COLORS["lesion"], "#33D6C4"
SLICES = 3

RESULTS = {"lesion": "lesion", "pseudo_dwi": "pseudo-DWI"}


class Column(NamedTuple):
    """An image of the panel.

    Attributes:
        title: above the column.
        image: (H, W, D).
        limits: the values shown as the two ends of the color scale.
        colors: name of matplotlib's color map.
        unit: of the color bar; empty for an image in arbitrary units, which gets none.
        outlined: whether the outlines are drawn on it.
    """

    title: str
    image: NDArray
    limits: tuple[float, float]
    colors: str
    unit: str = ""
    outlined: bool = False


def describe(volumes_ml: Mapping[str, float]) -> str:
    """The volumes in one line."""
    return ", ".join(f"{name} {volume:.1f} ml" for name, volume in volumes_ml.items())


def draw_case(
    case: Mapping[str, Any], results: Path, out: Path, maps: Mapping[str, str | PathLike[str]] | None = None
) -> dict[str, float]:
    """Draw a case and its results.

    Args:
        case: case dictionary with paths. Its own maps are not drawn.
        results: `output_dir` of the inference, which holds `<case>/<case>_lesion.nii.gz` and, perhaps, the pseudo-DWI.
        out: the PNG file to write.
        maps: files of the `cbf` and the `tmax` to draw; none are drawn without.

    Returns:
        The volumes in ml: `predicted lesion` and, for a labeled case, `true lesion`.

    Raises:
        FileNotFoundError: a file is missing.
        CaseError: a file is not what it should be.
    """
    loaded = load_case({key: value for key, value in case.items() if key not in MAP_KEYS} | dict(maps or {}))
    name = loaded["case"]
    for key, label in RESULTS.items():
        file = results / name / f"{name}_{key}.nii.gz"
        if key == "lesion" or file.is_file():
            loaded["predicted " + key] = read_nifti(file, case=name, key=label).array
    images = {key: radiological(value, loaded["affine"]) for key, value in loaded.items() if _is_image(value)}
    prediction, truth = images["predicted lesion"] > 0.5, images.get("label")
    voxel_ml = abs(float(np.linalg.det(loaded["affine"][:3, :3]))) / 1000
    volumes = {"predicted lesion": prediction.sum() * voxel_ml}
    if truth is not None:
        volumes["true lesion"] = truth.sum() * voxel_ml
    figure = draw_panel(
        _columns(images),
        prediction,
        truth,
        pixel_aspect=_pixel_aspect(loaded["affine"]),
        title=name,
        subtitle=describe(volumes),
    )
    with atomic_path(out) as temporary:
        # Without the metadata matplotlib would write its version, and the same case would not give the same bytes.
        metadata = {"Software": None}
        figure.savefig(temporary, format="png", facecolor=figure.get_facecolor(), metadata=metadata, pil_kwargs=PNG)
    return volumes


def _is_image(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim > 2


def _pixel_aspect(affine: NDArray) -> float:
    """Height over width of a pixel in the turned slice."""
    axes = nib.io_orientation(affine)[:, 0].astype(int)
    size_mm = dict(zip(axes, voxel_sizes(affine), strict=True))
    return size_mm[1] / size_mm[0]


def _columns(images: Mapping[str, NDArray]) -> list[Column]:
    series = images["image"]
    peak = int(series.mean(axis=(0, 1, 2)).argmax())
    columns = [Column(f"CTP, frame {peak + 1} of {series.shape[3]}", series[..., peak], (0, 100), "gray", "HU")]
    if "cbf" in images:
        columns.append(
            Column("CBF", _brain_only(images["cbf"]), (0, _upper_limit(images["cbf"])), "turbo", "ml/100 g/min")
        )
    if "tmax" in images:
        columns.append(Column("Tmax", _brain_only(images["tmax"]), (0, 12), "inferno", "s"))
    if "predicted pseudo_dwi" in images:
        columns.append(Column("pseudo-DWI", images["predicted pseudo_dwi"], (0, 1), "gray"))
    if "dwi" in images:
        limits = (float(images["dwi"].min()), float(np.percentile(images["dwi"], 99)))
        columns.append(Column("DWI", images["dwi"], limits, "gray"))
    return [*columns, columns[-1]._replace(title=f"lesion on {columns[-1].title.split(',')[0]}", outlined=True)]


def _brain_only(image: NDArray) -> NDArray:
    """A map without its zeros, which lie outside the brain and are drawn as the black background."""
    return np.ma.masked_equal(image, 0)


def _upper_limit(image: NDArray, step: float = 20) -> float:
    """The 95th percentile of the brain, rounded up: vendors scale their maps differently."""
    brain = image[image > 0]
    return float(np.ceil(np.percentile(brain, 95) / step) * step) if brain.size else step


def choose_slices(prediction: NDArray[np.bool_], truth: NDArray | None, count: int = SLICES) -> list[int]:
    """The slices with most lesion, true or predicted, from foot to head; around the middle where there is none."""
    lesion = prediction if truth is None else prediction | (truth > 0)
    area = lesion.sum(axis=(0, 1))
    distance = np.abs(np.arange(area.size) - (area.size - 1) / 2)
    chosen = np.lexsort((distance, -area))[:count]
    return sorted(chosen.tolist())


def draw_panel(
    columns: Sequence[Column],
    prediction: NDArray[np.bool_],
    truth: NDArray | None,
    *,
    pixel_aspect: float,
    title: str,
    subtitle: str,
) -> Figure:
    """Draw images side by side, some slices of each, on black.

    Args:
        columns: the images.
        prediction: (H, W, D) mask.
        truth: (H, W, D) mask or None.
        pixel_aspect: height over width of a pixel.
        title: the first line.
        subtitle: the second line.

    Returns:
        The figure, of 150 dots per inch.
    """
    slices = choose_slices(prediction, truth)
    rows, columns_slice = _bounding_box(columns[0].image)
    height, width = (rows.stop - rows.start) * pixel_aspect, columns_slice.stop - columns_slice.start
    cell = 2.1
    image_height = cell * height / width * len(slices)
    figure = Figure(figsize=(cell * len(columns), image_height + 1.3), dpi=150, facecolor="black")
    top, bottom = 1 - 0.7 / (image_height + 1.3), 0.6 / (image_height + 1.3)
    grid = figure.subplots(
        len(slices),
        len(columns),
        squeeze=False,
        gridspec_kw={"left": 0, "right": 1, "top": top, "bottom": bottom, "wspace": 0.02, "hspace": 0.02},
    )
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "text.color": "white"}):
        for row, k in enumerate(slices):
            for axes, column in zip(grid[row], columns, strict=True):
                window = np.s_[rows, columns_slice, k]
                axes.imshow(
                    column.image[window],
                    cmap=column.colors,
                    vmin=column.limits[0],
                    vmax=column.limits[1],
                    aspect=pixel_aspect,
                    interpolation="bilinear",
                )
                axes.set_axis_off()
                if column.outlined:
                    _outline(axes, None if truth is None else truth[window], TRUTH_COLOR)
                    _outline(axes, prediction[window], PREDICTION_COLOR)
            for x, side in ((0.02, "R"), (0.98, "L")):
                grid[row, 0].text(
                    x, 0.5, side, transform=grid[row, 0].transAxes, color="#a0a0a0", fontsize=7, ha="center"
                )
            grid[row, 0].text(0.03, 0.03, f"slice {k + 1}", transform=grid[row, 0].transAxes, color="white", fontsize=7)
        for axes, column in zip(grid[0], columns, strict=True):
            axes.set_title(column.title, color="white", fontsize=10, pad=4)
        for axes, column in zip(grid[-1], columns, strict=True):
            if column.unit:
                _color_bar(figure, axes, column)
        _headline(figure, title, subtitle, with_truth=truth is not None)
    return figure


def _bounding_box(series: NDArray, margin: int = 4) -> tuple[slice, slice]:
    """The rows and columns of the head: what is neither air nor the zeros around a stripped brain."""
    head = ((series > -300) & (series != 0)).any(axis=2)
    if not head.any():
        return slice(0, head.shape[0]), slice(0, head.shape[1])
    rows, columns = (np.flatnonzero(head.any(axis=axis)) for axis in (1, 0))
    return slice(max(rows[0] - margin, 0), rows[-1] + margin + 1), slice(
        max(columns[0] - margin, 0), columns[-1] + margin + 1
    )


def _outline(axes: Axes, mask: NDArray | None, color: str) -> None:
    if mask is not None and mask.any():
        axes.contour(mask.astype(float), levels=[0.5], colors=color, linewidths=1.1)


def _color_bar(figure: Figure, axes: Axes, column: Column) -> None:
    """A thin bar below the column, with the values at its ends and the unit between them."""
    place = axes.get_position()
    height = 0.09 / figure.get_figheight()
    bar = figure.add_axes((place.x0 + 0.15 * place.width, place.y0 - 2 * height, 0.7 * place.width, height))
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=column.colors, aspect="auto")
    bar.set_yticks([])
    bar.set_xticks([0, 127.5, 255], [f"{column.limits[0]:g}", column.unit, f"{column.limits[1]:g}"])
    bar.tick_params(colors="white", labelsize=7, length=0, pad=2)
    for spine in bar.spines.values():
        spine.set_edgecolor("#808080")
        spine.set_linewidth(0.5)


def _headline(figure: Figure, title: str, subtitle: str, *, with_truth: bool) -> None:
    top = 1 - 0.22 / figure.get_figheight()
    figure.text(0.008, top, title, fontsize=13, fontweight="bold", va="center")
    figure.text(0.5, top, subtitle, fontsize=10, va="center", ha="center", color="#d0d0d0")
    lines = [(PREDICTION_COLOR, "predicted")] + [(TRUTH_COLOR, "true")] * with_truth
    handles = [Line2D([], [], color=color, linewidth=2, label=f"{name} lesion") for color, name in lines]
    figure.legend(
        handles=handles,
        loc="center right",
        bbox_to_anchor=(0.995, top),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor="white",
        borderaxespad=0,
    )
