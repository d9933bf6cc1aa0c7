"""`eval_metrics` of the metadata are the numbers of docs/results.md, which are those of the weights that ship."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
METRICS = json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))["eval_metrics"]
TITLES = {
    "Dice": "mean_dice",
    "precision": "mean_precision",
    "recall": "mean_recall",
    "HD (mm)": "mean_hausdorff_mm",
    "ASSD (mm)": "mean_assd_mm",
    "volume error (ml)": "mean_absolute_volume_error_ml",
    "SSIM": "mean_ssim",
}


def means(heading: str, row: str) -> dict[str, float]:
    """The means of a row of the first table under a heading, by the title of their column."""
    section = re.search(rf"^## {re.escape(heading)}.*?(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    found = next(cells for cells in lines[2:] if cells[0] == row)
    return {title: float(cell.split()[0]) for title, cell in zip(lines[0][1:], found[1:], strict=True)}


def test_the_metrics_are_those_of_the_page():
    shown = means("Any lesion", "this bundle") | {"SSIM": means("Pseudo-DWI", "any lesion")["SSIM"]}
    expected = {name: shown[title] for title, name in TITLES.items()}
    for size in ("small", "medium", "large"):
        expected[f"mean_dice_{size}"] = means(size.capitalize(), "this bundle")["Dice"]
    assert pytest.approx(expected) == METRICS


def test_the_page_is_of_the_weights_that_ship():
    sha256 = hashlib.sha256((ROOT / "models" / "model.pt").read_bytes()).hexdigest()
    assert f"SHA-256 `{sha256}`" in PAGE
