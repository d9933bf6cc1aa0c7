"""A picture of the most affected slices, every image next to the others: for print and PDF, where nothing moves."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from .radiological_view import choose_slices
from .scales import COLORS
from .slice_layers import MASKS, Layer, SliceLayers

_MOST_ROWS = 3
_OUTLINED = {"ct": MASKS, "cbf": ("core",), "cbv": (), "mtt": (), "tmax": ("delay",), "pseudo_dwi": ("lesion",)}
"""What is shown, and the masks that are outlined on it: those that are seen on it."""
_WIDTH_PX = 1560
_GAP_PX, _HEAD_PX, _FOOT_PX, _BAR_PX = 6, 34, 46, 10
_MOST_CELL_PX = 390
_TEXT_PX = 19
_OUTLINE_PX = 2
_JPEG_QUALITY = 88


def mosaic(layers: SliceLayers) -> bytes | None:
    """Up to three slices of each image with the outlines of the masks, as JPEG; None without any image.

    Images are columns and slices rows, as far as there are more than two images.
    """
    shown = [layer for layer in layers.images if layer.scale.name in _OUTLINED]
    if not shown:
        return None
    rows, columns = shown[0].levels.shape[:2]
    places = _places(shown, _slices(layers))
    width = min((_WIDTH_PX - _GAP_PX * (len(places) - 1)) // len(places), _MOST_CELL_PX)
    height = round(width * rows * layers.pixel_mm[0] / (columns * layers.pixel_mm[1]))
    most = max(len(slices) for _, slices in places)
    size = (len(places) * (width + _GAP_PX) - _GAP_PX, _HEAD_PX + most * (height + _GAP_PX) + _FOOT_PX)
    picture = Image.new("RGB", size)
    draw = ImageDraw.Draw(picture)
    for column, (layer, slices) in enumerate(places):
        left = column * (width + _GAP_PX)
        _write(draw, (left + width // 2, _HEAD_PX // 2), layer.scale.title, "mm")
        for row, index in enumerate(slices):
            top = _HEAD_PX + row * (height + _GAP_PX)
            picture.paste(_cell(layers, layer, index, (width, height)), (left, top))
            if layer is shown[0]:
                _write(draw, (left + 6, top + height - 4), f"slice {layers.numbers[index]} of {layers.total}", "ls")
            for x, side, anchor in ((left + 4, "R", "lm"), (left + width - 4, "L", "rm")):
                _write(draw, (x, top + height // 2), side, anchor)
        _bar(picture, draw, layer, (left, size[1] - _FOOT_PX + 6, width))
    return as_jpeg(picture)


def as_jpeg(picture: Image.Image) -> bytes:
    """A picture in colors without an alpha channel."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _places(shown: list[Layer], slices: list[int]) -> list[tuple[Layer, list[int]]]:
    """The image of each column and its slices: one or two images stand next to each other again for each slice."""
    groups = [slices] if len(shown) > 2 else [[index] for index in slices]
    return [(layer, group) for group in groups for layer in shown]


def _slices(layers: SliceLayers) -> list[int]:
    """Those with most lesion, core and delay, from foot to head; evenly spaced ones without any."""
    count = len(layers.numbers)
    none = np.zeros(count)
    areas = {name: mask.sum(axis=(0, 1)).astype(float) for name, mask in layers.masks.items()}
    lesion = areas.get("lesion", none) + areas.get("core", none)
    return list(choose_slices(lesion, lesion + areas.get("delay", none), np.ones(count, bool), _MOST_ROWS))


def _cell(layers: SliceLayers, layer: Layer, index: int, size: tuple[int, int]) -> Image.Image:
    """One slice of one image, enlarged, with the outlines."""
    levels = layer.levels[..., index].astype(np.float32)
    smooth, share = (
        np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BILINEAR))
        for part in (levels, (levels > 0).astype(np.float32))
    )
    inside = share >= 0.5  # the mean of what is there: nothing is not a low value
    cell = layer.colors()[np.where(inside, np.rint(smooth / np.where(inside, share, 1)), 0).astype(np.uint8)]
    for name in reversed([name for name in _OUTLINED[layer.scale.name] if name in layers.masks]):  # the lesion on top
        cell[_outline(layers.masks[name][..., index], size)] = ImageColor.getrgb(COLORS[name])
    return Image.fromarray(cell)


def _outline(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The border of an enlarged mask."""
    large = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)) > 127
    return large & ~binary_erosion(large, iterations=_OUTLINE_PX)


def _bar(picture: Image.Image, draw: ImageDraw.ImageDraw, layer: Layer, place: tuple[int, int, int]) -> None:
    """The color scale with its ends and its unit."""
    left, top, width = place
    colors = layer.colors()[np.linspace(1, 255, width - 40).round().astype(int)]
    picture.paste(Image.fromarray(np.repeat(colors[None], _BAR_PX, axis=0)), (left + 20, top))
    y = top + _BAR_PX + 14
    low, high = (f"{limit:g}" for limit in layer.scale.limits)
    for x, text, anchor in (
        (left + 20, low, "lm"),
        (left + width // 2, layer.scale.unit, "mm"),
        (left + width - 20, high, "rm"),
    ):
        _write(draw, (x, y), text, anchor, 0.85)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, anchor: str, size: float = 1.0) -> None:
    font = ImageFont.truetype(font_file("DejaVuSans"), round(_TEXT_PX * size))
    draw.text(place, text, "white", font, anchor, stroke_width=1, stroke_fill="black")


def font_file(name: str) -> str:
    """The file of a font that comes with matplotlib."""
    return f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf"
