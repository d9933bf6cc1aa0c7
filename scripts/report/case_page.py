"""The report of a case as one HTML file that needs nothing else: no network, no server, no other file.

The template `page.html` is filled by jinja2, which escapes whatever comes from the results. Style and script are in the
file, and its Content-Security-Policy allows these two alone, by their hash, and pictures that are in the file.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ..io.atomic import atomic_path
from . import case_findings
from .case_results import CaseResults
from .curves import Curves, curves_of, points
from .slice_layers import MASKS, SliceLayers, slice_layers
from .slice_mosaic import as_jpeg, mosaic

_HERE = Path(__file__).parent
_PICTURES = {"panel": "Lesion panel", "perfusion": "Perfusion panel"}
_MOST_NOTICES = 5
"""On paper; the page on a screen has all."""
_PLOT = {"width": 560, "height": 260, "left": 44, "right": 548, "top": 20, "bottom": 218}


def write_page(results: CaseResults) -> list[Path]:
    """Write `<case>_report.html` and `<case>_report.pdf` into the folder of a case.

    The same results give the same bytes.

    Returns:
        The two files.

    Raises:
        CaseError: an image of the results cannot be read or lies on another grid.
        ModuleNotFoundError: reportlab is not installed.
    """
    try:
        from .case_pdf import case_pdf
    except ModuleNotFoundError as error:
        hint = "the report needs it: pip install 'ctp-stroke-lesion-segmentation[report]'"
        raise ModuleNotFoundError(f"{error}; {hint}", name=error.name) from error

    layers, curves = slice_layers(results), curves_of(results)
    picture = mosaic(layers)
    written = {"html": case_html(results, layers, curves, picture).encode(), "pdf": case_pdf(results, curves, picture)}
    paths = []
    for ending, content in written.items():
        paths.append(results.folder / f"{results.case}_report.{ending}")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_bytes(content)
    return paths


def case_html(results: CaseResults, layers: SliceLayers, curves: Curves | None, picture: bytes | None) -> str:
    """The page.

    Args:
        results: of the case.
        layers: its slices.
        curves: of the artery and the vein, if there are maps.
        picture: JPEG for print and for browsers that cannot show the slices.
    """
    summary = results.summary
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    viewer = layers.as_json() if layers.images else None
    plot = None if curves is None else _plot(curves)
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    delay = f"Tmax > {case_findings.delay_s(summary)} s" if summary else ""
    titles = {"lesion": ("Lesion", "l"), "core": ("Core", "c"), "delay": (delay, "t")}
    return environment.get_template("page.html").render(
        case=results.case,
        has_maps=summary is not None,
        has_series=any(layer.scale.name == "ct" for layer in layers.images),
        measures=[*case_findings.lesion_measures(results), *(case_findings.map_measures(summary) if summary else [])],
        swatches={"Lesion": "lesion", "Core": "core", delay: "delay"},
        notices=case_findings.notices(results),
        most_notices=_MOST_NOTICES,
        flags=case_findings.flags(summary) if summary else [],
        viewer=viewer,
        masks=[{"name": n, "title": titles[n][0], "key": titles[n][1]} for n in MASKS if n in layers.masks],
        mosaic=picture and base64.b64encode(picture).decode(),
        plot=plot,
        pictures=_pictures(results),
        provenance=case_findings.provenance(results),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_data({"viewer": viewer, "curves": plot and plot["data"]}),
    )


def _plot(curves: Curves) -> dict[str, Any]:
    """What the template draws, and under `data` what the script reads off."""
    limits = curves.limits()
    box = (_PLOT["left"], _PLOT["right"], _PLOT["bottom"], _PLOT["top"])
    places = [points(curves.times_s, curve.values_hu, limits, box) for curve in curves.curves]
    ticks_s, ticks_hu = curves.ticks_s(), curves.ticks_hu()
    lines = [
        {"name": curve.name, "title": curve.title, "points": " ".join(f"{x:g},{y:g}" for x, y in place)}
        for curve, place in zip(curves.curves, places, strict=True)
    ]
    values = [
        {**curve._asdict(), "y": [y for _, y in place]} for curve, place in zip(curves.curves, places, strict=True)
    ]
    return _PLOT | {
        "baseline": points([curves.baseline_s], [0], limits, box)[0][0] - _PLOT["left"],
        "rows": [(points([0], [tick], limits, box)[0][1], f"{tick:g}") for tick in ticks_hu],
        "columns": [(points([tick], [0], limits, box)[0][0], f"{tick:g}") for tick in ticks_s],
        "lines": lines,
        "readings": list(zip(curves.times_s, *(curve.values_hu for curve in curves.curves), strict=True)),
        "data": {"times_s": curves.times_s, "x": [x for x, _ in places[0]], "curves": values},
    }


def _pictures(results: CaseResults) -> list[dict[str, str]]:
    """The pictures that were written with the results, as JPEG: a third of the bytes."""
    names = [name for name in _PICTURES if name == "panel" or results.summary is not None]
    files = {name: results.folder / f"{results.case}_{name}.png" for name in names}
    return [
        {"title": _PICTURES[name], "jpeg": base64.b64encode(as_jpeg(Image.open(file))).decode()}
        for name, file in files.items()
        if file.is_file()
    ]


def _data(content: Any) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an element by what it holds."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
