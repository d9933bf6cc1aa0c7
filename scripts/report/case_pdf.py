"""The report of a case on one A4 page, without a browser."""

from __future__ import annotations

import io
from collections.abc import Sequence
from xml.sax.saxutils import escape

from reportlab import rl_config
from reportlab.graphics.shapes import Drawing, Line, PolyLine, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Frame, Image, KeepInFrame, Paragraph, Spacer, Table, TableStyle

from .case_findings import Flag, Measure, Notice, delay_s, flags, lesion_measures, map_measures, notices, provenance
from .case_results import CaseResults
from .curves import Curves, points
from .scales import COLORS
from .slice_mosaic import font_file

_MARGIN = 12 * mm
_WIDTH, _HEIGHT = A4[0] - 2 * _MARGIN, A4[1] - 2 * _MARGIN
_GAP = 2.5 * mm
_FONT, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
_MOST_NOTICES = 5
_PICTURE_HEIGHT = 112 * mm
_INK, _SOFT, _LINE, _BANNER = (HexColor(text) for text in ("#16202b", "#4d5b6a", "#d3dae2", "#ffd84d"))
_ALSO = "Both trials also need an occluded carotid or middle cerebral artery, DAWN age and NIHSS."
_CURVES = {"aif": HexColor("#c2182b"), "vof": HexColor("#1550c0"), "measured": HexColor("#c2182b")}
_ANSWERS = {"met": "#0d6b3c", "not met": "#5a6472", "unknown": "#7a4a00"}


def case_pdf(results: CaseResults, curves: Curves | None, picture: bytes | None) -> bytes:
    """The page as PDF; the same results give the same bytes.

    Args:
        results: of the case.
        curves: of the artery and the vein, if there are maps.
        picture: JPEG of the slices, see `scripts.report.slice_mosaic`.
    """
    for name in (_FONT, _BOLD):  # embedded: the page looks the same everywhere, and a name may have any letters
        pdfmetrics.registerFont(TTFont(name, font_file(name)))
    pdfmetrics.registerFontFamily(_FONT, _FONT, _BOLD, _FONT, _BOLD)
    summary = results.summary
    measures = [*lesion_measures(results), *(map_measures(summary) if summary else [])]
    story: list[Flowable] = [_head(results.case), Spacer(0, _GAP), _measures(measures)]
    if summary:
        story.append(
            _text(
                "In parentheses: interval of 90 % for the noise and the errors of the maps, not those of the "
                "thresholds. HIR: hypoperfusion intensity ratio.",
                6,
                _SOFT,
            )
        )
    else:
        story.append(_text("There are no perfusion maps: core, Tmax and mismatch are not known.", 7, _SOFT))
    story += [Spacer(0, _GAP), *_notices(notices(results))]
    if picture is not None:
        story += [Spacer(0, _GAP), _legend(results), Spacer(0, 1 * mm), _picture(picture)]
    if summary:
        pair = [
            [
                [_title("Trial criteria that images can show"), _flags(flags(summary)), _text(_ALSO, 6, _SOFT)],
                _curves(curves),
            ]
        ]
        story += [Spacer(0, _GAP), _table(pair, [0.56 * _WIDTH, 0.44 * _WIDTH])]
    story += [Spacer(0, _GAP), _title("How it was made"), _provenance(provenance(results))]
    stream = io.BytesIO()
    rl_config.useA85 = 0  # bytes as they are: a fifth less, and faster
    page = Canvas(stream, pagesize=A4, invariant=1, lang="en")
    page.setTitle(f"{results.case}: CT perfusion report (RESEARCH ONLY)")
    page.setAuthor("ctp-stroke")
    # What is too long becomes smaller, so that there is one page.
    Frame(_MARGIN, _MARGIN, _WIDTH, _HEIGHT, 0, 0, 0, 0).add(KeepInFrame(_WIDTH, _HEIGHT, story, mode="shrink"), page)
    page.save()
    return stream.getvalue()


_PLAIN = TableStyle(
    [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        *((f"{side}PADDING", (0, 0), (-1, -1), 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")),
    ]
)


def _text(text: str, size: float = 7, color: HexColor = _INK, bold: bool = False, markup: bool = False) -> Paragraph:
    style = ParagraphStyle(
        "text", fontName=_BOLD if bold else _FONT, fontSize=size, leading=1.3 * size, textColor=color, splitLongWords=1
    )
    return Paragraph(text if markup else escape(text), style)


def _title(text: str) -> Paragraph:
    return _text(text, 8, bold=True)


def _table(rows: list, widths: list[float], *style: tuple) -> Table:
    """A table without padding, as wide as the page allows, to which `style` adds."""
    return Table(rows, widths, style=TableStyle([*_PLAIN.getCommands(), *style]), hAlign="LEFT")


def _head(case: str) -> Table:
    banner = Table(
        [[_text("<b>RESEARCH ONLY</b><br/>not for diagnosis or treatment", 8, markup=True)]],
        [58 * mm],
        style=TableStyle([("BACKGROUND", (0, 0), (-1, -1), _BANNER), ("BOX", (0, 0), (-1, -1), 0.5, _INK)]),
    )
    shown = case if len(case) <= 70 else f"{case[:67]}..."
    left = [_text("CT perfusion report", 7, _SOFT), _text(shown, 14 if len(shown) < 40 else 9, bold=True)]
    return _table([[left, banner]], [_WIDTH - 58 * mm, 58 * mm])


def _measures(measures: Sequence[Measure]) -> Table:
    cells = [
        [
            _text(measure.name, 7, _SOFT),
            _text(f"<b>{escape(measure.value)}</b> <font size=7>{escape(measure.unit)}</font>", 11, markup=True),
            _text(f"({measure.interval})" if measure.interval else " ", 6.5),
            _text(measure.note, 6, _SOFT),
        ]
        for measure in measures
    ]
    columns = min(len(cells), 4)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    rows[-1] += [[]] * (columns - len(rows[-1]))
    style = [("LINEBEFORE", (0, 0), (-1, -1), 1.2, _LINE), ("LEFTPADDING", (0, 0), (-1, -1), 5)]
    return _table(rows, [_WIDTH / columns] * columns, *style, ("BOTTOMPADDING", (0, 0), (-1, -1), 3))


def _notices(found: Sequence[Notice]) -> list[Flowable]:
    if not found:
        return [_text("Quality control found nothing to warn of.", 6.5, _SOFT)]
    lines: list[Flowable] = [
        _text(
            f"<b>{escape(f'{notice.kind.capitalize()}: {notice.title}.')}</b> {escape(_cut(notice))}", 6.5, markup=True
        )
        for notice in found[:_MOST_NOTICES]
    ]
    more = len(found) - _MOST_NOTICES
    return lines + [_text(f"and {more} more on the HTML page", 6.5, _SOFT)] * (more > 0)


def _cut(notice: Notice, most: int = 300) -> str:
    text = f"{notice.text} {notice.number}".strip()
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _picture(picture: bytes) -> Image:
    width, height = ImageReader(io.BytesIO(picture)).getSize()
    factor = min(_WIDTH / width, _PICTURE_HEIGHT / height)
    return Image(io.BytesIO(picture), width * factor, height * factor)


def _flags(found: Sequence[Flag]) -> Table:
    rows = [[_text(text, 6, _SOFT) for text in ("Trial", "Images", "Criteria", "Numbers")]]
    for flag in found:
        numbers = f"{escape(flag.numbers)}<br/><font color='#4d5b6a'>{escape(flag.reason)}</font>"
        rows.append(
            [
                _text(flag.name, 6.8, bold=True),
                _text(flag.answer, 6.8, HexColor(_ANSWERS[flag.answer]), bold=True),
                _text(flag.criteria, 6.5),
                _text(numbers, 6.5, markup=True),
            ]
        )
    width = 0.56 * _WIDTH - 8
    style = [("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE), ("RIGHTPADDING", (0, 0), (-1, -1), 4)]
    style += [("TOPPADDING", (0, 0), (-1, -1), 1.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5)]
    return _table(rows, [0.15 * width, 0.15 * width, 0.33 * width, 0.37 * width], *style)


def _curves(curves: Curves | None) -> list[Flowable]:
    return [] if curves is None else [_title("Arterial and venous curve"), _plot(curves)]


def _legend(results: CaseResults) -> Paragraph:
    """What the outlines of the picture are."""
    delay = f"Tmax > {delay_s(results.summary)} s" if results.summary else ""
    titles = {"lesion": "lesion", "core": "core", "delay": delay}
    marks = (
        f"<font color='{COLORS[name]}' size=9>\u25a0</font> {escape(title)}"
        for name, title in titles.items()
        if name == "lesion" or results.summary
    )
    return _text(
        f"Most affected slices, the patient's right on the left. Outlines: {', '.join(marks)}.", 7, markup=True
    )


def _plot(curves: Curves) -> Drawing:
    width, height = 0.44 * _WIDTH - 8, 38 * mm
    box = (22.0, width - 4, 20.0, height - 18)
    limits = curves.limits()
    drawing = Drawing(width, height)
    end = points([curves.baseline_s], [0], limits, (*box[:2], box[2], box[3]))[0][0]
    drawing.add(Rect(box[0], box[2], end - box[0], box[3] - box[2], fillColor=HexColor("#e6ebf0"), strokeColor=None))
    for tick in curves.ticks_hu():
        y = points([0], [tick], limits, box)[0][1]
        drawing.add(Line(box[0], y, box[1], y, strokeColor=_LINE, strokeWidth=0.4))
        drawing.add(_label(box[0] - 3, y - 2, f"{tick:g}", "end"))
    for tick in curves.ticks_s():
        drawing.add(_label(points([tick], [0], limits, box)[0][0], box[2] - 8, f"{tick:g}", "middle"))
    drawing.add(_label(box[1], box[2] - 16, "time after the first frame [s]", "end"))
    drawing.add(_label(0, height - 15, "enhancement [HU]", "start"))
    left = 0.0
    for curve in curves.curves:
        flat = [value for place in points(curves.times_s, curve.values_hu, limits, box) for value in place]
        dashes = [1, 2] if curve.name == "measured" else None
        drawing.add(PolyLine(flat, strokeColor=_CURVES[curve.name], strokeWidth=1, strokeDashArray=dashes))
        drawing.add(
            Line(left, height - 4, left + 10, height - 4, strokeColor=_CURVES[curve.name], strokeDashArray=dashes)
        )
        drawing.add(_label(left + 13, height - 6, curve.title, "start"))
        left += 21 + pdfmetrics.stringWidth(curve.title, _FONT, 5.5)
    return drawing


def _label(x: float, y: float, text: str, anchor: str) -> String:
    return String(x, y, text, fontName=_FONT, fontSize=5.5, fillColor=_SOFT, textAnchor=anchor)


def _provenance(rows: Sequence[tuple[str, str]]) -> Table:
    cells = [[_text(name, 6, _SOFT), _text(value, 6)] for name, value in rows]
    return _table(cells, [27 * mm, _WIDTH - 27 * mm])
