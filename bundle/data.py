"""Data sets of the maker's side: a phantom where there is none yet, and its cases."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nibabel.affines import voxel_sizes

from scripts.io import load_case, load_datalist
from scripts.phantom.parameters import FIELD_OF_VIEW_PIXELS

DATALIST, PHANTOM = "datalist.json", "phantom.json"


def describe_data(folder: Path) -> str:
    """How a data set was made, in words."""
    marker = folder / PHANTOM
    if not marker.is_file():
        return f"the data set `{folder.name}`"
    made = json.loads(marker.read_text(encoding="utf-8"))
    options = f"--split {'/'.join(map(str, made['counts']))} --seed {made['seed']}"
    if (matrix := made.get("matrix", FIELD_OF_VIEW_PIXELS)) != FIELD_OF_VIEW_PIXELS:
        options += f" --matrix {matrix}"
    return f"the phantom with seed {made['seed']} (`{options}`)"


def load_cases(folder: Path, datalist: Path, section: str) -> Iterator[Mapping[str, Any]]:
    """The loaded cases of a section, one at a time, each with `spacing_mm` and without its series.

    The series is checked, and then let go: the thresholds need the maps alone.
    """
    for case in load_datalist(datalist, section, folder):
        loaded = load_case(case)
        del loaded["image"]
        yield loaded | {"spacing_mm": voxel_sizes(loaded["affine"])}
