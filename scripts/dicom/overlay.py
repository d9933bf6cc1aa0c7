"""Pictures of the masks' outlines on every slice, with the statement and a legend burned in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from ..io.nifti import open_nifti
from ..io.orientation import radiological
from ..io.origin import sha256
from .case_files import RESEARCH_ONLY, CaseFiles
from .segmentation import Segment

RIGHT_TO_LEFT, FRONT_TO_BACK = "L", "P"
"""PatientOrientation of the pictures, which are radiological views: towards the patient's left and back."""
_GRAY_HU = (0.0, 80.0)
_WIDTH_PX = 512
_BAND_PX = 26
_TEXT_PX = 16
_LINE_PX = 2
_STATEMENT = (240, 228, 66)
_MOST_FRAMES = 4  # averaged, against noise


def overlays(results: CaseFiles, segments: Sequence[Segment]) -> Iterator[NDArray[np.uint8]]:
    """A picture (rows, columns, 3) of each slice, from the feet to the head, as radiologists look at it."""
    gray_image, shown = _gray(results)
    ground = radiological(gray_image, results.affine)
    masks = [radiological(np.asarray(results.volume(segment.name)) > 0, results.affine) for segment in segments]
    spacing = np.linalg.norm(results.affine[:3, :3], axis=0)[_axes(results.affine)]
    size = _size(ground.shape, spacing[1] / spacing[0])
    for index in range(ground.shape[2]):
        gray = Image.fromarray(np.ascontiguousarray(ground[..., index])).resize(size, Image.Resampling.BILINEAR)
        picture = np.repeat(np.asarray(gray)[..., None], 3, axis=2)
        for segment, mask in zip(reversed(segments), reversed(masks), strict=True):  # the lesion on top
            picture[_outline(mask[..., index], size)] = segment.rgb
        yield _labeled(Image.fromarray(picture), segments, f"slice {index + 1} of {ground.shape[2]}{shown}")


def banner(picture: Image.Image) -> NDArray[np.uint8]:
    """The picture below a line with the statement."""
    canvas = Image.new("RGB", (max(picture.width, _WIDTH_PX), picture.height + _BAND_PX), "black")
    canvas.paste(picture, (0, _BAND_PX))
    _write(ImageDraw.Draw(canvas), (8, 4), RESEARCH_ONLY, _STATEMENT)
    return np.asarray(canvas)


def _labeled(picture: Image.Image, segments: Sequence[Segment], place: str) -> NDArray[np.uint8]:
    """The statement above, the sides on the picture, the legend below."""
    canvas = Image.new("RGB", (max(picture.width, _WIDTH_PX), picture.height + (2 + len(segments)) * _BAND_PX), "black")
    canvas.paste(picture, ((canvas.width - picture.width) // 2, _BAND_PX))
    draw = ImageDraw.Draw(canvas)
    _write(draw, (8, 4), RESEARCH_ONLY, _STATEMENT)
    _write(draw, (8, _BAND_PX + 4), "R")
    _write(draw, (canvas.width - 8, _BAND_PX + 4), "L", anchor="ra")
    below = picture.height + _BAND_PX + 4
    _write(draw, (8, below), place)
    for line, segment in enumerate(segments, start=1):
        volume = "unknown volume" if segment.volume_ml is None else f"{segment.volume_ml:.1f} ml"
        _write(draw, (8, below + line * _BAND_PX), f"{segment.label}: {volume}", segment.rgb)
    return np.asarray(canvas)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    color: tuple[int, int, int] = (255, 255, 255),
    anchor: str = "la",
) -> None:
    font = ImageFont.load_default(_TEXT_PX)
    draw.text(place, text, color, font=font, anchor=anchor, stroke_width=1, stroke_fill="black")


def _outline(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    large = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)) > 0
    return large & ~binary_erosion(large, iterations=_LINE_PX, border_value=1)


def _size(shape: tuple[int, ...], aspect: float) -> tuple[int, int]:
    """Width and height in pixels: a whole multiple of the columns, pixels as high as wide."""
    factor = max(1, math.ceil(_WIDTH_PX / shape[1]))
    return factor * shape[1], max(1, round(factor * shape[0] * aspect))


def _gray(results: CaseFiles) -> tuple[NDArray[np.uint8], str]:
    """The first frames of the series in a brain window; where the series is gone the pseudo-DWI, and that it is one."""
    recorded = results.record.get("series", {})
    series, shape = Path(recorded.get("path", "")), np.asarray(results.volume("lesion")).shape
    if series.is_file() and sha256(series) == recorded.get("sha256"):  # never on another patient's head
        kind = type(open_nifti(series, case=results.case, key="image"))
        proxy = kind.from_filename(series, mmap=False).dataobj
        if proxy.shape[:3] == shape and len(proxy.shape) == 4:
            before = int((results.summary or {}).get("frames_before_contrast") or 1)
            frames = np.asarray(proxy[..., : min(before, _MOST_FRAMES)], dtype=np.float32)
            return _window(frames.mean(axis=3), *_GRAY_HU), ""
    pseudo_dwi = results.volume("pseudo_dwi")
    if pseudo_dwi is None:
        return np.zeros(shape, np.uint8), ""
    return _window(np.asarray(pseudo_dwi), 0.0, 1.0), ", on the pseudo-DWI"


def _window(image: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    return (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _axes(affine: NDArray[np.float64]) -> list[int]:
    """The array's axis along left to right, front to back, and foot to head."""
    return [int(np.argmax(np.abs(affine[world, :3]) / np.linalg.norm(affine[:3, :3], axis=0))) for world in range(3)]
