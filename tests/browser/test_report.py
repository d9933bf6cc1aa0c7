"""The report in a browser: what a radiologist sees, does with keys and mouse, and prints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.report.case_page import write_page
from scripts.report.case_results import CaseResults
from scripts.report.plain_words import PLAIN
from tests.browser.chromium import PROGRAM, Chromium
from tests.report.made_results import make_results

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium: apt-get install chromium, or make test-report")

SHOTS = os.environ.get("REPORT_SCREENSHOTS")
"""A folder for pictures to look at."""
A4, LETTER = (8.27, 11.69), (8.5, 11.0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_results(tmp_path_factory.mktemp("results"), shape=(64, 64, 5))
    return write_page(CaseResults.load(folder))[0]


def shown(name: str, tmp_path: Path) -> Path:
    folder = Path(SHOTS or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def shoot(browser: Chromium, name: str, tmp_path: Path) -> bytes:
    path = shown(f"{name}.png", tmp_path)
    browser.screenshot(path)
    return path.read_bytes()


def place(browser: Chromium) -> str:
    return browser.evaluate("document.getElementById('place').textContent")


def checked(browser: Chromium) -> list[str]:
    return browser.evaluate("[...document.querySelectorAll('input[name=mask]:checked')].map((box) => box.value)")


@pytest.mark.parametrize(
    ("name", "width", "dark"), [("wide", 1400, False), ("wide-dark", 1400, True), ("phone", 390, False)]
)
def test_it_opens_without_an_error_or_a_request_and_fits(
    browser: Chromium, page: Path, tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    browser.open(page, width=width, height=844 if width < 600 else 1000, dark=dark)
    assert browser.evaluate("document.body.dataset.viewer") == "ready"
    assert browser.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    picture = shoot(browser, name, tmp_path)
    assert len(picture) > 20_000
    back = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back))) < 150) == dark
    assert browser.problems() == []


def test_a_problem_would_be_seen(browser: Chromium, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<body data-viewer=none><img src=http://127.0.0.1:9/x><script>console.error(1); nothing.at.all</script>"
    )
    browser.open(bad)
    found = "\n".join(browser.problems())
    assert "request: http://127.0.0.1:9/x" in found
    assert "nothing is not defined" in found


def test_the_policy_forbids_what_is_not_the_page_s_own(browser: Chromium, page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    bad = tmp_path / "bad.html"
    inserted = (
        "<script>document.title = 'bad'</script><img src='http://127.0.0.1:9/x' onerror=\"document.title = 'bad'\">"
    )
    bad.write_text(text.replace("<main>", f"<main>{inserted}"), encoding="utf-8")
    browser.open(bad)
    assert browser.evaluate("document.title") == "case_1: CT perfusion report"
    assert sum("Content Security Policy" in problem for problem in browser.problems()) >= 3


def test_the_keyboard_turns_slices_and_switches_images_and_masks(browser: Chromium, page: Path) -> None:
    browser.open(page)
    assert place(browser) == "CT, slice 3 of 5"
    assert checked(browser) == ["lesion", "core", "delay"]
    browser.evaluate("document.getElementById('slice').focus()")
    browser.press("ArrowUp", 38)
    assert place(browser) == "CT, slice 4 of 5"
    browser.press("End", 35)
    browser.press("ArrowRight", 39)
    assert place(browser) == "CT, slice 5 of 5"
    browser.press("Home", 36)
    browser.press("6")
    assert place(browser) == "Tmax, slice 1 of 5"
    assert browser.evaluate("document.getElementById('bar-unit').textContent") == "s"
    browser.press("c")
    browser.press("t")
    assert checked(browser) == ["lesion"]
    browser.press("t")
    assert checked(browser) == ["lesion", "delay"]
    said = browser.evaluate("document.getElementById('status').textContent")
    assert said == "Tmax, slice 1 of 5. Nothing outlined here."
    assert browser.evaluate("document.querySelector('input[name=image]:checked').value") == "tmax"


def test_tab_reaches_every_control_and_shows_the_focus(browser: Chromium, page: Path) -> None:
    browser.open(page)
    focused = """(() => { const at = document.activeElement;
      const seen = at.name === 'image' ? at.nextSibling : at;  // the picture stands for its hidden button
      return [at.id || at.value || at.tagName, getComputedStyle(seen).outlineStyle]; })()"""
    reached = []
    while not reached or reached[-1] != "BODY":  # after the last one
        browser.press("Tab", 9)
        name, outline = browser.evaluate(focused)
        assert outline != "none" or name == "BODY", reached
        reached.append(name)
    wanted = ["ct", "slice", "number", "lesion", "core", "delay", "opacity", "plot", "SUMMARY"]
    assert [each for each in reached if each in wanted][: len(wanted)] == wanted


def test_the_wheel_turns_slices(browser: Chromium, page: Path) -> None:
    browser.open(page)
    box = browser.evaluate(
        "(({x, y, width, height}) => [x, y, width, height])(document.getElementById('slice').getBoundingClientRect())"
    )
    where = {"x": box[0] + box[2] / 2, "y": box[1] + box[3] / 2}
    browser.send("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=100, **where)
    browser.wait("document.getElementById('place').textContent === 'CT, slice 4 of 5'")
    assert browser.evaluate("window.scrollY") == 0


def test_values_under_the_pointer_and_colors_of_pixels_are_those_of_the_image(browser: Chromium, page: Path) -> None:
    browser.open(page, "#slice=4&layer=tmax&masks=&opacity=0")
    assert place(browser) == "Tmax, slice 4 of 5"
    assert checked(browser) == []
    point = """(x, y) => { const c = document.getElementById('slice'), b = c.getBoundingClientRect();
      c.dispatchEvent(new PointerEvent('pointermove', {clientX: b.x + x * b.width, clientY: b.y + y * b.height}));
      return [document.getElementById('readout').textContent,
        [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data].slice(0, 3)]; }"""
    delayed, red = browser.evaluate(f"({point})(0.22, 0.6)")  # right and behind
    normal, blue = browser.evaluate(f"({point})(0.7, 0.4)")
    nothing, black = browser.evaluate(f"({point})(0.02, 0.02)")
    assert (delayed, normal, nothing) == ("Tmax 9.0 s", "Tmax 1.0 s", "Tmax: no value")
    assert red[0] > 200 > 100 > red[2]
    assert blue[2] > blue[0]
    assert black == [0, 0, 0]
    browser.open(page, "#slice=4&layer=tmax&masks=lesion&opacity=100")
    _, filled = browser.evaluate(f"({point})(0.22, 0.6)")
    assert filled == [255, 79, 216]


def test_curves_are_read_off_by_key_and_pointer(browser: Chromium, page: Path) -> None:
    browser.open(page)
    browser.evaluate("document.getElementById('plot').focus()")
    for _ in range(5):
        browser.press("ArrowRight", 39)
    text = "document.getElementById('curve-time').textContent"
    assert browser.evaluate(text) == (
        "Frame 5, 6 s: AIF, as used 180.0 HU; VOF 0.8 HU; AIF, as measured (divided by 1.50) 120.0 HU"
    )
    browser.evaluate("""{ const p = document.getElementById('plot'), b = p.getBoundingClientRect();
      p.dispatchEvent(new PointerEvent('pointermove', {clientX: b.right - 5, clientY: b.y + 9})); }""")
    assert browser.evaluate(text).startswith("Frame 12, 16.5 s: AIF, as used 12.0 HU")


@pytest.mark.parametrize("paper", [A4, LETTER])
def test_it_prints_to_one_page(browser: Chromium, tmp_path: Path, paper: tuple[float, float]) -> None:
    many = "; ".join(f"{name}: 5.2 of the tissue's peak at the end (limit 4)" for name in PLAIN)
    cases = {"print": {}, "many": {"warnings": many}, "less": {"maps": False, "lesion": False, "series": False}}
    for case, options in cases.items():
        page = write_page(CaseResults.load(make_results(tmp_path, case, shape=(64, 90, 5), **options)))[0]
        browser.open(page)
        printed = browser.pdf(*paper)
        shown(f"{case}-{paper[0]}.pdf", tmp_path).write_bytes(printed)
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == 1, case
        assert browser.problems() == []


def test_text_has_contrast(browser: Chromium, page: Path) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text, in light and dark."""
    script = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
    for dark in (False, True):
        browser.open(page, dark=dark)
        ratios = browser.evaluate(script)
        assert len(ratios) > 50
        assert min(ratio for ratio, _ in ratios) >= 4.5, sorted(ratios)[:3]
