"""About how long the steps of rows take, by what they or others took before."""

import csv
from pathlib import Path
from statistics import median

from .plan import DONE, TRAIN, Plan
from .run_step import read_record

SAME_SIZE = ("features", "image_size")


def expected_times(plan: Plan, pages: Path) -> dict[str, str]:
    """The time of each step of a plan, in words.

    A step takes as long as it did in this folder, or as the median of steps of its name there, or, for a training, as
    the page of its table says of the row if it was as large, in proportion to the epochs.
    """
    found = {name: read_record(plan.setting.folder / name / DONE).get("seconds") for name in plan.steps}
    page = {run: seconds for row, runs in plan.runs.items() for run in runs if (seconds := _on_page(plan, row, pages))}
    times = {}
    for name, seconds in found.items():
        run, part = name.split("/")
        alike = [other for key, other in found.items() if key.endswith(f"/{part}") and other]
        seconds = seconds or (median(alike) if alike else None) or (page.get(run) if part == TRAIN else None)
        times[name] = f"about {seconds / 60:.1f} min" if seconds else "time unknown"
    return times


def _on_page(plan: Plan, row: str, pages: Path) -> float | None:
    table, name = row.split("_", 1)
    path = pages / f"{table}.csv"
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as stream:
        before = next((line for line in csv.DictReader(stream) if line["row"] == name and line["minutes"]), None)
    content, _ = plan.contents[row]
    if before is None or any(before[key] != str(content.get(key)) for key in SAME_SIZE):
        return None
    return 60 * float(before["minutes"]) * content["epochs"] / float(before["epochs"].split()[0])
