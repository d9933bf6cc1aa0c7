"""A contact sheet of phantom cases, for visual checks of CTP, maps and DWI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..io.atomic import atomic_path
from ..io.case import FILE_KEYS
from ..io.nifti import read_nifti
from ..io.orientation import radiological

# Key, title, window and color map of each column; DWI has its own window.
_COLUMNS: tuple[tuple[str, str, tuple[float, float] | None, str], ...] = (
    ("baseline", "CTP first frame [HU]", (0.0, 80.0), "gray"),
    ("peak", "CTP peak frame [HU]", (0.0, 120.0), "gray"),
    ("cbf", "CBF [ml/100 g/min]", (0.0, 80.0), "jet"),
    ("cbv", "CBV [ml/100 g]", (0.0, 7.0), "jet"),
    ("mtt", "MTT [s]", (0.0, 14.0), "jet"),
    ("tmax", "Tmax [s]", (0.0, 12.0), "jet"),
    ("dwi", "DWI", None, "gray"),
)


def write_preview(path: Path, root: Path, cases: list[dict[str, str]]) -> None:
    """Draw one row per case: frames, maps and DWI of the slice with the largest lesion, with the label outlined.

    Args:
        path: PNG to write.
        root: folder the paths of the cases are relative to.
        cases: datalist entries.

    Raises:
        ValueError: without cases.
    """
    if not cases:
        raise ValueError("cases must not be empty")
    figure = Figure(figsize=(2.6 * len(_COLUMNS), 2.75 * len(cases)), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(cases), len(_COLUMNS), squeeze=False)
    for row, case in zip(axes, cases, strict=True):
        images, label = _slices(root, case)
        for axis, (key, title, window, colors) in zip(row, _COLUMNS, strict=True):
            axis.set_axis_off()
            if key not in images:
                continue
            limits = window or (0.0, float(np.percentile(images[key], 99.7)))
            axis.imshow(images[key], cmap=colors, norm=Normalize(*limits), interpolation="nearest")
            if label.any():
                axis.contour(label, levels=[0.5], colors="white" if colors == "jet" else "red", linewidths=0.7)
            axis.set_title(f"{case['case']}  {title}" if key == "baseline" else title, color="white", fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=75)


def _slices(root: Path, case: dict[str, str]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """The images of one case at the slice with the largest lesion, in radiological view: front up, right on the
    left.
    """
    volumes: dict[str, NDArray[np.float32]] = {}
    for key in FILE_KEYS:
        if key in case:
            volume = read_nifti(root / case[key], case=case["case"], key=key)
            volumes[key] = radiological(volume.array, volume.affine)
    series, label = volumes.pop("image"), volumes.pop("label")
    lesion_pixels = label.sum(axis=(0, 1))
    index = int(np.argmax(lesion_pixels)) if lesion_pixels.any() else label.shape[2] // 2
    means = series[:, :, index].mean(axis=(0, 1))
    volumes["baseline"], volumes["peak"] = series[..., 0], series[..., int(np.argmax(means))]
    return {key: volume[:, :, index] for key, volume in volumes.items()}, label[:, :, index]
