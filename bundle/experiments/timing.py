"""About how long the steps of rows take, by what they or others took before."""

import csv
from pathlib import Path
from statistics import median

from .plan import DONE, TRAIN, Plan
from .run_step import read_record


def expected_times(plan: Plan, pages: Path) -> dict[str, str]:
    """The time of each step of a plan, in words.

    A step takes as long as it did in this folder, or as the median of steps of its name there, or, for a training, as
    the page of its table says of the row if it was as large, in proportion to the epochs.
    """
    found = {name: read_record(plan.setting.folder / name / DONE).get("seconds") for name in plan.steps}
    page = {f"{run}/{TRAIN}": _on_page(plan, row, pages) for row, runs in plan.runs.items() for run in runs}
    times = {}
    for name, seconds in found.items():
        part = name.split("/")[1]
        others = [other for key, other in found.items() if key.endswith(f"/{part}") and other]
        seconds = seconds or (median(others) if others else page.get(name))
        times[name] = f"about {seconds / 60:.1f} min" if seconds else "time unknown"
    return times


def _on_page(plan: Plan, row: str, pages: Path) -> float | None:
    """Seconds of a row's training by the page of its table."""
    table, name = row.split("_", 1)
    content, _ = plan.contents[row]
    if (path := pages / f"{table}.csv").is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            before = next((line for line in csv.DictReader(stream) if line["row"] == name and line["minutes"]), None)
        if before and all(before[key] == str(content.get(key)) for key in ("features", "image_size")):
            return 60 * float(before["minutes"]) * content["epochs"] / float(before["epochs"].split()[0])
    return None
