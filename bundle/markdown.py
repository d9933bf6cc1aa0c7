"""Pages in Markdown: tables, lists, and a page that is written complete or not at all."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.io import atomic_path


def table(header: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    """A table; the first column holds words, the others numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in [header, rule, *body])


def bullets(items: Iterable[str]) -> str:
    """A list; empty items are left out."""
    return "\n".join(f"- {item}" for item in items if item)


def page(title: str, *parts: str) -> str:
    """A page: its title and its parts, with an empty line between them; empty parts are left out."""
    return "\n\n".join(filter(None, [f"# {title}", *parts])) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file, complete or not at all; its folder is made."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
