"""What a bundle says about itself."""

import re
from pathlib import Path

SECTIONS = (
    "Model Overview",
    "Data",
    "Preprocessing",
    "Training configuration",
    "Memory",
    "Input",
    "Output",
    "Performance",
    "MONAI Bundle Commands",
    "References",
    "License",
)
"""Headings of the zoo's model cards, in their order."""


def check_model_card(root: Path) -> str:
    """`docs/README.md` has the zoo's sections in the zoo's order, and none is empty."""
    text = (root / "docs" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "code", text, flags=re.MULTILINE | re.DOTALL)  # a comment there begins as a heading
    _, *parts = re.split(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    found = [(title, body) for title, body in zip(parts[::2], parts[1::2], strict=True) if title in SECTIONS]
    if [title for title, _ in found] != list(SECTIONS):
        got = ", ".join(title for title, _ in found) or "none of them"
        raise ValueError(f"docs/README.md: expected the sections {', '.join(SECTIONS)}, each once; got {got}")
    empty = [title for title, body in found if not body.strip()]
    if empty:
        raise ValueError(f"docs/README.md: expected text in every section, got none in {', '.join(empty)}")
    return f"{len(SECTIONS)} sections"


def check_data_license(root: Path) -> str:
    """`docs/data_license.txt` says under which terms the data may be used."""
    text = (root / "docs" / "data_license.txt").read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError("docs/data_license.txt: expected the terms of the data, got an empty file")
    return f"{len(text.splitlines())} lines"
