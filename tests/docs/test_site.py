"""The hooks of the documentation site: pages of the API, navigation, links from and to pages outside of `docs`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml

from bundle import site
from tests.conftest import ROOT


@pytest.fixture
def files():
    known = {"README.md", "how-to/download.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    return SimpleNamespace(get_file_from_path=lambda path: path if path in known else None)


@pytest.mark.parametrize(
    ("page", "markdown", "expected"),
    [
        ("how-to/download.md", "[a](../README.md#input)", "[a](../README.md#input)"),
        ("how-to/download.md", "[a](../../SECURITY.md#names)", "[a](../SECURITY.md#names)"),
        ("SECURITY.md", "[a](docs/how-to/download.md)", "[a](how-to/download.md)"),
        ("CONTRIBUTING.md", "see [a](models/README.md).", "see a."),
        ("README.md", "[a](nowhere.md)", "[a](nowhere.md)"),
        ("README.md", "[a](https://a.b/c.md) [b](#input) ![c](images/demo.png)", None),
    ],
)
def test_links_lead_to_the_pages_of_the_site(page, markdown, expected, files):
    page = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    assert site.on_page_markdown(markdown, page, None, files) == (expected or markdown)


def test_every_public_module_has_its_place_in_the_reference():
    wanted = {path for path in (ROOT / "scripts").glob("*/*.py") if not path.name.startswith("_")}
    shown = "".join(site.reference(package) for package in site.packages()).split()
    assert {f"scripts.{path.parent.name}.{path.stem}" for path in wanted} <= set(shown)


def test_every_page_is_in_the_navigation():
    entries = [entry for group in site.on_config(SimpleNamespace()).nav for entry in group.values()]
    shown = {page for entry in entries for page in ([entry] if isinstance(entry, str) else entry)}
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - shown == {"remarks.md"}  # the end of results.md
    assert {"tutorial.ipynb", "CONTRIBUTING.md", "api/io.md"} <= shown


def test_nothing_is_fetched_by_the_readers_browser():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["theme"]["font"] is False
    assert config["strict"] is True
    assert not {"extra_css", "extra_javascript"} & set(config)
    page = '<script type="module">\nimport("https://cdn/x.mjs")\n</script><script>kept()</script>:func:<code>f</code>'
    assert site.on_page_content(page, None, None, None) == "<script>kept()</script><code>f</code>"
