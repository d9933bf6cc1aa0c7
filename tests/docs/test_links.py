"""What a page of the documentation points to is there, and so is the heading."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/*.ipynb"), *ROOT.glob("models/*.md")})
LINK = re.compile(r"\]\(([^)\s]+)\)")


def markdown(page: Path) -> str:
    """The text of a page, or of the text cells of a notebook, without blocks of code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "\n\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub and MkDocs name them: lower case, words joined by hyphens."""
    titles = re.findall(r"^#+ +(.+)$", markdown(page), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r" +", "-", re.sub(r"[^\w\- ]", "", title.lower()).strip()) for title in plain}


def broken(page: Path) -> list[str]:
    """The links of a page that lead to no file, or to no heading."""
    found = []
    for link in LINK.findall(markdown(page)):
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        if "://" not in link and not (path.exists() and (not anchor or anchor in anchors(path))):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# Two words, *one* link\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md#two-words-one-link) [b](there.md#other) [c](gone.md) [d](https://a.b) [e](#here)")
    assert broken(page) == ["there.md#other", "gone.md", "#here"]


def test_the_remarks_are_the_end_of_the_results() -> None:
    page, remarks = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("results.md", "remarks.md"))
    assert page.endswith(remarks.strip() + "\n")
