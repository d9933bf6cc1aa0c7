"""The volumes of a case as pictures of slices: each image in 255 levels of its scale, the masks, one view for all."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from PIL import Image

from ..io.nifti import read_nifti
from ..io.orientation import radiological
from .case_results import CaseResults
from .scales import COLORS, CT, MAPS, Scale

MOST_SLICES = 32
"""More slices are thinned out: a page has some megabytes."""
MOST_PIXELS = 288
"""Along a side of a slice; more are averaged."""
_MARGIN_PX = 4
_HEAD_HU = -300.0

_BRIGHTEST = Scale("tmip", "Vessels", "HU", (0.0, 200.0), "gray")
_DWI = Scale("pseudo_dwi", "Pseudo-DWI", "", (0.0, 1.0), "gray")
_PROBABILITY = Scale("probability", "Lesion probability", "", (0.0, 1.0), "magma")

MASKS = ("lesion", "core", "delay")


class Layer(NamedTuple):
    """An image of the viewer."""

    scale: Scale
    levels: NDArray[np.uint8]
    """(rows, columns, slices): 0 where there is nothing, else 1 to 255 from the lower to the upper limit."""

    def colors(self) -> NDArray[np.uint8]:
        """(256, 3), the color of each level; that of 0 is black."""
        table = matplotlib.colormaps[self.scale.colors](np.linspace(0, 1, 255), bytes=True)[:, :3]
        return np.concatenate([np.zeros((1, 3), np.uint8), table])


class SliceLayers(NamedTuple):
    """Everything that is drawn of a case, in the radiological view, cropped to the head."""

    images: tuple[Layer, ...]
    masks: Mapping[str, NDArray[np.bool_]]
    """(rows, columns, slices) of those of `MASKS` that there are."""
    pixel_mm: tuple[float, float]
    """Height and width of a pixel."""
    numbers: tuple[int, ...]
    """Of each slice among all, from 1 at the feet."""
    total: int
    """Slices of the series."""

    def first(self) -> int:
        """Index of the slice to begin with: that with most lesion, core and delay; the middle one without any."""
        area = sum(np.asarray(mask.sum(axis=(0, 1)), float) for mask in self.masks.values())
        middle = (len(self.numbers) - 1) // 2
        return int(np.argmax(area)) if np.any(area) else middle

    def as_json(self) -> dict[str, Any]:
        """For the page's viewer: each image as one PNG with its slices below each other, the masks as bits of another.

        There is at least one image.
        """
        rows, columns, slices = self.images[0].levels.shape
        bits = np.zeros((rows, columns, slices), np.uint8)
        for name, mask in self.masks.items():
            bits |= mask * np.uint8(1 << MASKS.index(name))
        return {
            "rows": rows,
            "columns": columns,
            "aspect": round(self.pixel_mm[0] / self.pixel_mm[1], 6),
            "numbers": self.numbers,
            "total": self.total,
            "first": self.first(),
            "images": [
                {
                    "name": layer.scale.name,
                    "title": layer.scale.title,
                    "unit": layer.scale.unit,
                    "limits": layer.scale.limits,
                    "colors": layer.colors().tobytes().hex(),
                    "png": _png(layer.levels),
                }
                for layer in self.images
            ],
            "masks": {"png": _png(bits), "names": MASKS, "colors": [COLORS[name] for name in MASKS]},
        }


def slice_layers(results: CaseResults) -> SliceLayers:
    """Read and turn everything that there is to look at.

    The CT is the mean of the frames before contrast, or of all frames without maps; the vessels are the maximum over
    time. Both need the series, and are left out where it is gone or has changed.
    """
    found = [*_of_series(results), *_of_maps(results)]
    found += [
        (scale, volume, None) for scale in (_DWI, _PROBABILITY) if (volume := results.volume(scale.name)) is not None
    ]
    volumes = {name: results.volume(name) for name in MASKS}
    view = _View(results, [volume for scale, volume, _ in found if scale.name == CT.name])
    images = tuple(
        Layer(scale, _levels(view.of(volume), scale, None if inside is None else view.of(inside) >= 0.5))
        for scale, volume, inside in found
    )
    masks = {name: view.of(volume) >= 0.5 for name, volume in volumes.items() if volume is not None}
    return SliceLayers(images, masks, view.pixel_mm, tuple(index + 1 for index in view.slices), view.total)


_Found = tuple[Scale, NDArray, NDArray | None]  # with the mask of where it is shown


def _of_series(results: CaseResults) -> list[_Found]:
    path = results.series()
    if path is None:
        return []
    series = read_nifti(path, case=results.case, key="image").array
    before = (results.summary or {}).get("frames_before_contrast")
    scale = CT if before else CT._replace(title="CT, mean over time")
    mean = series[..., :before].mean(axis=-1, dtype=np.float32)
    return [(scale, mean, None), (_BRIGHTEST, series.max(axis=-1), None)]


def _of_maps(results: CaseResults) -> list[_Found]:
    brain = results.volume("brain")
    volumes = {scale: results.volume(scale.name) for scale in MAPS}
    flow = volumes[MAPS[0]]
    inside = None if flow is None else (flow != 0) & (True if brain is None else brain > 0.5)
    return [(scale, volume, inside) for scale, volume in volumes.items() if volume is not None]


class _View:
    """Turns volumes to the radiological view, and leaves out what is around the head and what is too fine."""

    def __init__(self, results: CaseResults, head: list[NDArray]):
        self.affine = results.affine
        turned = radiological(head[0] if head else np.zeros(results.shape, np.float32), self.affine)
        inside = (turned > _HEAD_HU) & (turned != 0)
        self.rows, self.columns = (_extent(inside.any(axis=axes)) for axes in ((1, 2), (0, 2)))
        longest = max(part.stop - part.start for part in (self.rows, self.columns))
        self.step = -(-longest // MOST_PIXELS)
        axes = io_orientation(self.affine)[:, 0].astype(int)
        size_mm = dict(zip(axes.tolist(), voxel_sizes(self.affine).tolist(), strict=True))
        self.pixel_mm = (size_mm[1] * self.step, size_mm[0] * self.step)
        self.total = turned.shape[2]
        self.slices = tuple(range(0, self.total, -(-self.total // MOST_SLICES)))

    def of(self, volume: NDArray) -> NDArray[np.float32]:
        """(rows, columns, slices)."""
        part = radiological(volume, self.affine)[self.rows, self.columns][..., list(self.slices)].astype(np.float32)
        if self.step == 1:
            return part
        rows, columns = (-(-size // self.step) for size in part.shape[:2])
        more = [(0, count * self.step - size) for count, size in zip((rows, columns), part.shape[:2], strict=True)]
        blocks = np.pad(part, (*more, (0, 0)), mode="edge").reshape(rows, self.step, columns, self.step, -1)
        return blocks.mean(axis=(1, 3))


def _extent(inside: NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(inside)
    if not len(where):
        return slice(0, len(inside))
    return slice(max(int(where[0]) - _MARGIN_PX, 0), min(int(where[-1]) + 1 + _MARGIN_PX, len(inside)))


def _levels(image: NDArray, scale: Scale, inside: NDArray | None) -> NDArray[np.uint8]:
    low, high = scale.limits
    levels = (1 + np.rint(np.clip((np.nan_to_num(image) - low) / (high - low), 0, 1) * 254)).astype(np.uint8)
    return levels if inside is None else np.where(inside, levels, np.uint8(0))


def _png(levels: NDArray[np.uint8]) -> str:
    """Slices below each other, as base64."""
    sheet = np.ascontiguousarray(np.moveaxis(levels, 2, 0).reshape(-1, levels.shape[1]))
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG", compress_level=6)
    return base64.b64encode(stream.getvalue()).decode()
