"""The report of a case: what it says, what it shows, that it is safe, offline and the same each time."""

import base64
import hashlib
import io
import json
import re
import time
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.cli import main
from scripts.io.frame_times import TIME_CHECKS
from scripts.io.gate import HEADER_CHECKS
from scripts.io.nifti import write_nifti
from scripts.perfusion.given_maps import GIVEN_CHECKS
from scripts.perfusion.quality import MAP_CHECKS, SERIES_CHECKS
from scripts.report.case_findings import flags
from scripts.report.case_page import write_page
from scripts.report.case_results import CaseResults
from scripts.report.plain_words import PLAIN
from scripts.report.slice_layers import MOST_PIXELS, MOST_SLICES, slice_layers
from tests.report.made_results import LPS, make_results, make_summary, rewrite


class Page(HTMLParser):
    """A page as a browser reads it: its elements with their attributes, and its words."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.content: dict[str, list[str]] = {"script": [], "style": []}
        self.inside = ""
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        self.content.get(self.inside, self.words).append(data)

    def data(self) -> dict[str, Any]:
        return json.loads(next(text for text in self.content["script"] if text.startswith("{")))


def page_of(folder: Path) -> Page:
    html, _ = write_page(CaseResults.load(folder))
    return Page(html.read_text(encoding="utf-8"))


def pages_in(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def test_the_page_says_what_the_results_say(tmp_path: Path) -> None:
    folder = make_results(tmp_path)
    page = page_of(folder)
    ml = json.loads((folder / "case_1_result.json").read_text())["row"]["lesion_volume_ml"]
    for words in (
        "RESEARCH ONLY - not for diagnosis or treatment",
        f"Lesion {ml:.1f} ml by the network; 1 part in 2 slices",
        "Core 12.3 ml (10.0 to 14.0) rCBF < 30% and Tmax > 6 s",
        "Tmax > 6 s 22.0 ml (20.0 to 24.0)",
        "Mismatch 9.6 ml (7.0 to 12.0)",
        "Mismatch ratio 1.78 (1.50 to 2.00)",
        "Side right",
        "HIR 0.23",
        "CBV index 0.61",
        "mismatch 9.6 ml is below 15 ml; ratio 1.78 is below 1.8",
        "if also age \u2265 80 years and NIHSS \u2265 10",
        "core 12.3 ml is below 31 ml",
        "Quality control found nothing to warn of.",
        "ctp-stroke 0.1.0",
        "ab" * 32,
        "12 frames, 0 to 16.5 s, 1.5 s apart (from the header)",
        "estimate bayesian, smoothing [mm] 3.5, core below rCBF 0.3, delay above Tmax [s] 6",
        "AIF of 1 voxel, scaled by 1.50 \u00b1 0.10; VOF of 2 voxels",
    ):
        assert words in page.text, words
    assert str(tmp_path) not in page.text  # a path may have a name in it


def test_every_check_has_its_sentence() -> None:
    names = {check.name for check in (*SERIES_CHECKS, *MAP_CHECKS, *HEADER_CHECKS, *GIVEN_CHECKS, *TIME_CHECKS)}
    assert names == PLAIN.keys()


def test_cautions_and_warnings_are_said_once_in_plain_words_with_their_numbers(tmp_path: Path) -> None:
    caution = {
        "name": "carotid_pattern",
        "value": 0.9,
        "limit": 0.8,
        "unit": "of normal flow",
        "text": "one side is slow",
    }
    warning = {"name": "motion", "value": 5.2, "limit": 4, "unit": "mm"}
    changes = {"cautions": [caution | {"withholds": False}], "warnings": [warning]}
    folder = make_results(tmp_path, warnings="motion: 5.2 mm (limit 4); new_check: 3 (limit 1)", summary=changes)
    text = page_of(folder).text
    assert "Caution: Carotid pattern. One side is slow. 0.9 of normal flow (limit 0.8)" in text
    assert text.count("Warning: Motion. The head moved during the scan") == 1
    assert "5.2 mm (limit 4)" in text
    assert "Warning: New check. 3 (limit 1)" in text


@pytest.mark.parametrize(
    ("flag", "answer", "numbers", "reason"),
    [
        ({"met": True}, "met", "core 12.3 ml", ""),
        ({"met": False, "core_ml": 69.9999, "mismatch_ml": 15.0}, "not met", "core 70.0 ml", "ratio 1.70 is below 1.8"),
        ({"met": False, "core_ml": 70.0}, "not met", "core 70.0 ml", "core 70.0 ml is not below 70 ml"),
        ({"met": False, "mismatch_ratio": 1.7999}, "not met", "ratio 1.80", "ratio 1.7999 is below 1.8"),
        ({"met": False, "mismatch_ratio": None}, "not met", "ratio unknown", "ratio is unknown"),
        ({"met": None, "reason": "no reference", "core_ml": None}, "unknown", "core unknown", "no reference"),
        ({"met": False, "mismatch_ratio": "infinite", "core_ml": 0.0}, "not met", "ratio infinite", "mismatch 9.6"),
    ],
)
def test_a_flag_says_its_numbers_and_which_of_them_fail(
    flag: dict[str, Any], answer: str, numbers: str, reason: str
) -> None:
    summary = make_summary("x", {})
    summary["flags"] = {"defuse3": summary["flags"]["defuse3"] | {"mismatch_ratio": 1.7} | flag}
    found = flags(summary)[0]
    assert (found.name, found.answer) == ("DEFUSE 3", answer)
    assert numbers in found.numbers
    assert reason in found.reason
    assert bool(reason) == bool(found.reason)


def test_curves_that_are_read_off_are_those_of_the_summary(tmp_path: Path) -> None:
    folder = make_results(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    page = page_of(folder)
    data = page.data()["curves"]
    assert data["times_s"] == summary["times_s"]
    curves = {curve["name"]: curve for curve in data["curves"]}
    assert curves["aif"]["values_hu"] == summary["aif_hu"]
    assert curves["vof"]["values_hu"] == summary["vof_hu"]
    np.testing.assert_allclose(curves["measured"]["values_hu"], np.divide(summary["aif_hu"], 1.5), atol=1e-3)
    lines = {attributes["class"]: attributes["points"] for tag, attributes in page.elements if tag == "polyline"}
    for name, curve in curves.items():
        places = [tuple(map(float, place.split(","))) for place in lines[name].split()]
        assert places == list(zip(data["x"], curve["y"], strict=True))
        np.testing.assert_allclose(np.polyfit(curve["values_hu"], curve["y"], 1, full=True)[1], 0, atol=1e-3)  # linear
        assert np.argmin(curve["y"]) == np.argmax(curve["values_hu"])  # up is more
    assert "4.5 20.25" in page.text  # the table


def sheet(png: str, rows: int) -> np.ndarray:
    """The slices of an image of the viewer, (slices, rows, columns)."""
    levels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
    return levels.reshape(-1, rows, levels.shape[1])


@pytest.mark.parametrize("codes", ["LPS", "RAS"])
def test_the_viewer_has_the_values_and_masks_in_the_radiological_view(tmp_path: Path, codes: str) -> None:
    affine = LPS if codes == "LPS" else np.diag([2.0, 3.0, 5.0, 1.0])
    viewer = page_of(make_results(tmp_path, affine=affine)).data()["viewer"]
    assert [image["name"] for image in viewer["images"]] == [
        *("ct", "tmip", "cbf", "cbv", "mtt", "tmax", "pseudo_dwi", "probability")
    ]
    assert viewer["aspect"] == 1.5
    assert (viewer["numbers"], viewer["total"], viewer["first"]) == ([1, 2, 3, 4], 4, 2)
    masks = sheet(viewer["masks"]["png"], viewer["rows"])
    tmax = next(image for image in viewer["images"] if image["name"] == "tmax")
    levels = sheet(tmax["png"], viewer["rows"]).astype(float)
    assert set(np.unique(np.where(levels, (levels - 1) / 254 * 12, -1).round(1))) == {-1, 1.0, 9.0}
    assert (((masks & 4) > 0) == (levels > 127)).all()  # where Tmax is 9 s
    assert not masks[:2].any()
    columns, rows = (np.argwhere(masks[2] & 1)[:, axis].mean() for axis in (1, 0))
    if codes == "LPS":  # low indices are right and front; the lesion is right and behind
        assert columns < masks.shape[2] / 2
        assert rows > masks.shape[1] / 2
    else:
        assert columns > masks.shape[2] / 2
        assert rows < masks.shape[1] / 2
    ct = sheet(viewer["images"][0]["png"], viewer["rows"])
    assert np.bincount(ct.ravel()).argsort()[-2:].tolist() in ([1, 112], [112, 1])  # air, and 35 of 80 HU


HOSTILE = "x'\"><img src=x onerror=alert(1)></script><script>alert(2)</script>{{ 7*7 }}&amp;"


def test_whatever_a_name_or_a_warning_holds_is_text(tmp_path: Path) -> None:
    case = HOSTILE.replace("/", "\u2215")
    caution = {"name": HOSTILE, "value": 1, "limit": 0, "unit": HOSTILE, "text": HOSTILE, "withholds": False}
    folder = make_results(tmp_path, case, warnings=HOSTILE, summary={"cautions": [caution], "side": HOSTILE})
    rewrite(folder / f"{case}_result.json", settings={"version": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}})
    plain = page_of(
        make_results(tmp_path, "plain", summary={"cautions": [caution | dict.fromkeys(("name", "unit", "text"), "a")]})
    )
    html, pdf = write_page(CaseResults.load(folder))
    page = Page(html.read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not [attributes for _, attributes in page.elements if any(key.startswith("on") for key in attributes)]
    tags = {tag for tag, _ in page.elements}
    assert tags == {tag for tag, _ in plain.elements}
    assert page.text.count("<img src=x onerror=alert(1)>") > 5  # as text
    assert "{{ 7*7 }}" in page.text
    assert pages_in(pdf.read_bytes()) == 1


def test_the_page_needs_nothing_and_runs_nothing_but_its_own(tmp_path: Path) -> None:
    html, _ = write_page(CaseResults.load(make_results(tmp_path)))
    text = html.read_text(encoding="utf-8")
    page = Page(text)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, own in (("style", page.content["style"][0]), ("script", page.content["script"][-1])):
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    for tag, attributes in page.elements:
        assert "style" not in attributes, "the policy forbids it"
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|eval\(", text)
    assert ("html", {"lang": "en"}) in page.elements
    assert sum(tag == "h1" for tag, _ in page.elements) == 1
    named = {attributes["for"] for tag, attributes in page.elements if tag == "label" and "for" in attributes}
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert named <= ids
    pointed = [a[key] for _, a in page.elements for key in ("aria-labelledby", "aria-describedby") if key in a]
    assert set(pointed) <= ids


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    results = CaseResults.load(make_results(tmp_path))
    first = [path.read_bytes() for path in write_page(results)]
    time.sleep(1.1)  # a date in the PDF has seconds
    assert [path.read_bytes() for path in write_page(results)] == first


def test_the_pdf_is_one_page_with_the_same_words(tmp_path: Path) -> None:
    many = "; ".join(f"{name}: 5 mm (limit 4)" for name in PLAIN)
    for case, options in (
        ("a", {}),
        ("b", {"warnings": many}),
        ("c", {"maps": False, "series": False}),
        ("d" * 150, {}),
    ):
        _, pdf = write_page(CaseResults.load(make_results(tmp_path, case, **options)))
        content = pdf.read_bytes()
        assert pages_in(content) == 1
        assert b"/MediaBox [ 0 0 595.2756 841.8898 ]" in content
        assert len(re.findall(rb"/Subtype /TrueType", content)) >= 2  # embedded fonts


@pytest.mark.parametrize(
    "options", [{"maps": False}, {"lesion": False}, {"maps": False, "lesion": False, "series": False}]
)
def test_less_gives_a_page_that_says_so(tmp_path: Path, options: dict[str, bool]) -> None:
    folder = make_results(tmp_path, **options)
    page = page_of(folder)
    assert ("no lesion was found" in page.text) == (not options.get("lesion", True))
    assert ("There are no perfusion maps" in page.text) == (not options.get("maps", True))
    assert ("The series is no longer where it was" in page.text) == (not options.get("series", True))
    data = page.data()
    names = [image["name"] for image in data["viewer"]["images"]]
    assert names[-2:] == ["pseudo_dwi", "probability"]
    assert ("tmax" in names) == options.get("maps", True) == (data["curves"] is not None)
    if not options.get("lesion", True):
        assert data["viewer"]["first"] == 1  # the middle


def test_a_mask_alone_gives_a_page(tmp_path: Path) -> None:
    folder = make_results(tmp_path, maps=False, series=False)
    for name in ("pseudo_dwi", "probability"):
        (folder / f"case_1_{name}.nii.gz").unlink()
    page = page_of(folder)
    assert page.data() == {"viewer": None, "curves": None}
    assert "Lesion" in page.text


def test_many_and_large_slices_are_thinned_out(tmp_path: Path) -> None:
    shape = (2 * MOST_PIXELS + 10, 300, 3)
    folder = make_results(tmp_path, shape=shape, series=False)
    layers = slice_layers(CaseResults.load(folder))
    assert max(layers.images[0].levels.shape[:2]) <= MOST_PIXELS
    assert layers.pixel_mm == (9.0, 6.0)
    lesion = CaseResults.load(folder).volume("lesion")
    assert lesion is not None
    assert layers.masks["lesion"].sum() * 9 == pytest.approx(lesion.sum(), rel=0.02)
    folder = make_results(tmp_path, "tall", shape=(16, 16, 70), series=False)
    layers = slice_layers(CaseResults.load(folder))
    assert layers.numbers == tuple(range(1, 71, 3))
    assert len(layers.numbers) <= MOST_SLICES
    assert "24 of 70 slices are on this page" in page_of(folder).text


def test_sixteen_slices_of_256_are_below_five_megabytes(tmp_path: Path) -> None:
    folder = make_results(tmp_path, shape=(256, 256, 16), series=False)
    generator = np.random.default_rng(0)
    for name, high in (("cbf", 80), ("cbv", 6), ("mtt", 15), ("tmax", 12), ("pseudo_dwi", 1)):
        smooth = np.kron(generator.uniform(0, high, (64, 64, 16)), np.ones((4, 4, 1))) + generator.normal(
            0, high / 50, (256, 256, 16)
        )
        write_nifti(folder / f"case_1_{name}.nii.gz", smooth.astype(np.float32), LPS)
    html, _ = write_page(CaseResults.load(folder))
    assert html.stat().st_size < 5 << 20
    pictures = [image["png"] for image in Page(html.read_text(encoding="utf-8")).data()["viewer"]["images"]]
    assert len(pictures) == 6
    assert zlib.crc32(base64.b64decode(pictures[0]))  # a whole file


def test_the_command_writes_the_pages_of_all_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for case in ("case_1", "case_2"):
        make_results(tmp_path / "out", case, maps=False)
    (tmp_path / "out" / "empty").mkdir()
    assert main(["report", str(tmp_path / "out")]) == 0
    expected = [
        tmp_path / "out" / case / f"{case}_report.{end}" for case in ("case_1", "case_2") for end in ("html", "pdf")
    ]
    assert capsys.readouterr().out.splitlines() == list(map(str, expected))
    assert all(path.is_file() for path in expected)
    (tmp_path / "out" / "case_1" / "case_1_probability.nii.gz").write_bytes(b"no image")
    assert main(["report", *(str(tmp_path / "out" / case) for case in ("case_1", "case_2", "empty"))]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == list(map(str, expected[2:]))
    assert [line.split(":")[1] for line in captured.err.splitlines()] == [
        f" case 'case_1', probability '{tmp_path}/out/case_1/case_1_probability.nii.gz'",
        f" case 'empty', results '{tmp_path}/out/empty'",
    ]


def test_the_pictures_of_the_folder_are_on_the_page(tmp_path: Path) -> None:
    for maps, expected in ((True, ["Lesion panel", "Perfusion panel"]), (False, ["Lesion panel"])):
        folder = make_results(tmp_path, "case_1", maps=maps, series=False)
        if not maps:
            (folder / "summary.json").unlink()
        for name, color in (("panel", (255, 0, 0)), ("perfusion", (0, 0, 255))):
            Image.new("RGBA", (20, 10), (*color, 255)).save(folder / f"case_1_{name}.png")
        pictures = [a for tag, a in page_of(folder).elements if tag == "img" and "panel" in a["alt"]]
        assert [picture["alt"].removesuffix(" of case_1") for picture in pictures] == expected
        first = Image.open(io.BytesIO(base64.b64decode(pictures[0]["src"].removeprefix("data:image/jpeg;base64,"))))
        assert first.size == (20, 10)
        np.testing.assert_allclose(first.getpixel((5, 5)), (255, 0, 0), atol=3)
