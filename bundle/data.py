"""Data sets of the maker's side: a phantom where there is none yet, and its cases."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nibabel.affines import voxel_sizes

from scripts.io import load_case, load_datalist
from scripts.phantom import generate_cohort
from scripts.phantom.parameters import FIELD_OF_VIEW_PIXELS

DATALIST, PHANTOM = "datalist.json", "phantom.json"


def ensure_data(
    folder: Path, counts: tuple[int, int, int], seed: int, *, workers: int = 2, matrix: int = FIELD_OF_VIEW_PIXELS
) -> Path:
    """The datalist in a folder; a phantom is made where there is none yet.

    Args:
        folder: a data set, or where to make one.
        counts: cases for training, validation and testing.
        seed: of the phantom.
        workers: processes that make it.
        matrix: pixels along each side of its slices.
    """
    if not (folder / DATALIST).is_file():
        # An interrupted phantom has its marker and no datalist: that alone is overwritten.
        overwrite = (folder / PHANTOM).is_file()
        generate_cohort(folder, counts, seed, matrix=matrix, workers=workers, overwrite=overwrite, progress=True)
    return folder / DATALIST


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
