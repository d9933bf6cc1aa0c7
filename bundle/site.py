"""Hooks of the documentation site (mkdocs.yml): the API reference, and the pages that lie outside of `docs`.

GitHub and the site show the same files. A link to a file that is not on the site becomes plain text.
"""

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(?<!!)\[([^]\[]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
ROLE = re.compile(r":(?:attr|class|func|meth|mod):(?=<code>)")
FETCHING = re.compile(r'<script type="module">(?:(?!</script>).)*import\("https:.*?</script>', re.DOTALL)


def on_config(config: Any) -> Any:
    """Set the navigation: every page of a folder, in the order of their names."""
    config.nav = [
        {"Model card": "README.md"},
        {"Tutorial": "tutorial.ipynb"},
        {"How to": pages("how-to/*.md")},
        {"Results": ["results.md", *pages("results/*.md"), *pages("performance*.md")]},
        {"API": [f"api/{package.name}.md" for package in packages()]},
        {"Project": list(ROOT_PAGES)},
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the root's pages and one page for each package of `scripts`."""
    from mkdocs.structure.files import File  # the rest of this module needs no mkdocs, nor do its tests

    for name in ROOT_PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    for package in packages():
        files.append(File.generated(config, f"api/{package.name}.md", content=reference(package)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to the pages of the site."""
    here = page.file.src_uri
    folder = "" if here in ROOT_PAGES or here.startswith("api/") else "docs"
    source = posixpath.join(folder, posixpath.dirname(here))

    def lead(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(source, target))
        inside = path.removeprefix("docs/") if path.startswith("docs/") else path if path in ROOT_PAGES else ""
        if files.get_file_from_path(inside) is not None:
            return f"[{text}]({posixpath.relpath(inside, posixpath.dirname(here) or '.')}{anchor})"
        return text if (ROOT / path).exists() else match[0]  # what is nowhere stays, and fails the build

    return LINK.sub(lead, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Leave out Sphinx's roles before a name, and what a notebook's page would fetch from elsewhere."""
    return FETCHING.sub("", ROLE.sub("", html))


def pages(pattern: str) -> list[str]:
    """The pages of `docs` that a pattern finds."""
    return [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").glob(pattern))]


def packages() -> Iterator[Path]:
    """The packages of `scripts`, in the order of their names."""
    return (path.parent for path in sorted((ROOT / "scripts").glob("*/__init__.py")))


def reference(package: Path) -> str:
    """The page of a package: its docstring, and each public module."""
    name, source = f"scripts.{package.name}", (package / "__init__.py").read_text(encoding="utf-8")
    parts = [f"# {name}", ast.get_docstring(ast.parse(source)) or ""]
    for path in sorted(package.glob("[!_]*.py")):
        parts += [f"## {path.stem}", f"::: {name}.{path.stem}"]
    return "\n\n".join(parts) + "\n"
