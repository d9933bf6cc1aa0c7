"""A page to look through a data set before training: a picture of each case, its frames, spacing and lesion volume."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.atomic import atomic_path
from ..io.case import LABEL_KEY, SERIES_KEY
from ..io.nifti import Volume, read_nifti
from ..io.orientation import radiological

WINDOW_HU = (0.0, 80.0)
_PICTURE_PX = 160
_LESION = (255, 90, 60)
_TEMPLATE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
body { font: 14px system-ui, sans-serif; margin: 2em } table { border-collapse: collapse } td, th { padding: .2em 1em;
text-align: right } .cases { display: flex; flex-wrap: wrap; gap: 1em } figure { margin: 0; width: 180px }
</style></head><body>
<h1>{{ title }}</h1>
<table><tr><th></th><th>least</th><th>median</th><th>most</th></tr>
{% for name, values in spread %}<tr><th>{{ name }}</th>{% for v in values %}<td>{{ v }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p>Mean frame of the slice with most lesion, else of the middle one, {{ window }} HU; the lesion is colored. The
patient's right is on the left.</p>
<div class="cases">{% for case in cases %}
<figure><img alt="{{ case.name }}" src="data:image/jpeg;base64,{{ case.jpeg }}">
<figcaption><strong>{{ case.name }}</strong>, {{ case.section }}<br>{{ case.text }}</figcaption></figure>{% endfor %}
</div></body></html>
"""


def write_overview(
    path: str | PathLike[str], sections: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path, title: str
) -> None:
    """Write the page of a datalist, an HTML file without links to others.

    Args:
        path: where to.
        sections: of the datalist, with paths relative to `folder`.
        folder: the data folder.
        title: of the page.

    Raises:
        CaseError: a series or a label cannot be read.
    """
    from jinja2 import Environment, StrictUndefined

    cases = [_case(entry, name, folder) for name, entries in sections.items() for entry in entries]
    columns = {
        "frames": [case["frames"] for case in cases],
        "pixel (mm)": [case["spacing_mm"][0] for case in cases],
        "slice distance (mm)": [case["spacing_mm"][2] for case in cases],
        "slices": [case["slices"] for case in cases],
        "lesion (ml)": [case["lesion_ml"] for case in cases if case["lesion_ml"] is not None],
    }
    spread = [(name, [f"{f(v):.3g}" for f in (np.min, np.median, np.max)]) for name, v in columns.items() if v]
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)
    window = " to ".join(f"{level:g}" for level in WINDOW_HU)
    with atomic_path(path) as temporary:
        temporary.write_text(template.render(title=title, cases=cases, spread=spread, window=window), encoding="utf-8")


def _case(entry: Mapping[str, Any], section: str, folder: Path) -> dict[str, Any]:
    name = str(entry["case"])
    series = read_nifti(folder / entry[SERIES_KEY], case=name, key=SERIES_KEY)
    label = read_nifti(folder / entry[LABEL_KEY], case=name, key=LABEL_KEY) if LABEL_KEY in entry else None
    spacing_mm = np.linalg.norm(series.affine[:3, :3], axis=0)
    frames = series.array.shape[-1]
    lesion_ml = None if label is None else float((label.array > 0).sum() * np.prod(spacing_mm) / 1000)
    size = " x ".join(f"{value:.3g}" for value in spacing_mm)
    text = f"{frames} frames, {size} mm" + ("" if lesion_ml is None else f", {lesion_ml:.1f} ml")
    return {
        "name": name,
        "section": section,
        "frames": frames,
        "slices": series.array.shape[2],
        "spacing_mm": spacing_mm,
        "lesion_ml": lesion_ml,
        "text": text,
        "jpeg": _picture(series, label),
    }


def _picture(series: Volume, label: Volume | None) -> str:
    """A slice of the mean frame with the lesion in color, as JPEG in base64."""
    from PIL import Image

    shape = series.array.shape
    frame = radiological(series.array.reshape(*shape[:3], -1).mean(axis=3), series.affine)
    lesion = np.zeros(frame.shape, bool)
    if label is not None:
        lesion = radiological(label.array.reshape(shape[:3]) > 0, series.affine)
    areas = lesion.sum(axis=(0, 1))
    index = int(areas.argmax()) if areas.any() else frame.shape[2] // 2
    picture = Image.fromarray(_colored(frame[..., index], lesion[..., index]))
    stream = io.BytesIO()
    picture.resize((_PICTURE_PX, round(_PICTURE_PX * picture.height / picture.width))).save(stream, "JPEG", quality=80)
    return base64.b64encode(stream.getvalue()).decode()


def _colored(frame: NDArray, lesion: NDArray[np.bool_]) -> NDArray[np.uint8]:
    low, high = WINDOW_HU
    gray = np.clip((frame - low) / (high - low), 0, 1) * 255
    colors = np.repeat(gray[..., None], 3, axis=2)
    colors[lesion] = 0.5 * colors[lesion] + 0.5 * np.array(_LESION)
    return colors.astype(np.uint8)
