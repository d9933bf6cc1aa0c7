"""What a benchmark finds, and how it is kept in a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scripts.io import write_json

from .timing import Timing

SCHEMA = "ctp_stroke_lesion_segmentation/benchmark/1"
TIMES, MIB = "x", "MiB"

TIMES_THE_FLOOR = "times its floor"
TIMES_FASTER = "times faster than plain"
"""Names of figures that most benchmarks have."""


class Settings(NamedTuple):
    """What every benchmark is told.

    Attributes:
        device: where to run what can run there.
        repeats: rounds of alternating runs.
        quick: use the smallest sizes, to see that it works.
        dataset_dir: a data set with `datalist.json`, for what needs trained weights to mean something.
    """

    device: torch.device
    repeats: int
    quick: bool
    dataset_dir: Path


class Figure(NamedTuple):
    """A number that says how good something is.

    Attributes:
        value: the number.
        wanted: its limit, if there is one.
        higher_is_better: whether the limit is the least and not the most.
        unit: "x" for a ratio, "MiB" for memory, else what is written after the number.
    """

    value: float
    wanted: float | None = None
    higher_is_better: bool = False
    unit: str = TIMES

    @property
    def met(self) -> bool:
        """Whether the limit, if there is one, is kept."""
        if self.wanted is None:
            return True
        return self.value >= self.wanted if self.higher_is_better else self.value <= self.wanted


class Measurement(NamedTuple):
    """A row of a table.

    Attributes:
        case: what was run, and on what; unique in its benchmark.
        timing: its time, if it was timed.
        figures: the numbers that it is judged by, by their names.
    """

    case: str
    timing: Timing | None
    figures: Mapping[str, Figure]


def floor_row(case: str, floor_ms: float) -> Measurement:
    """The row of a floor that was not itself run but follows from what was."""
    return Measurement(case, Timing(floor_ms, (floor_ms, floor_ms)), {})


class Scaling(NamedTuple):
    """How time and memory grow.

    Attributes:
        axis: what grows, with its unit.
        points: its values.
        time_ms: by alternative, the median time at each point; may be empty.
        memory_mib: likewise the peak memory.
    """

    axis: str
    points: Sequence[float]
    time_ms: Mapping[str, Sequence[float]]
    memory_mib: Mapping[str, Sequence[float]]


class Found(NamedTuple):
    """What one benchmark found; `notes` are sentences for the page."""

    rows: Sequence[Measurement]
    scaling: Sequence[Scaling] = ()
    notes: Sequence[str] = ()


class Record(NamedTuple):
    """What a run of benchmarks found, and where.

    Attributes:
        command: that ran them.
        commit: of the repository.
        machine: in words.
        device: its type.
        floors: the best rates of the machine, see :func:`bundle.benchmark.floors.machine_floors`.
        repeats: rounds of alternating runs.
        quick: whether the sizes were the smallest.
        found: by the name of the benchmark.
    """

    command: str
    commit: str
    machine: str
    device: str
    floors: Mapping[str, float]
    repeats: int
    quick: bool
    found: Mapping[str, Found]


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, with its floats to four significant digits."""
    found = {
        name: {
            "rows": [_plain_row(row) for row in found.rows],
            "scaling": [scaling._asdict() for scaling in found.scaling],
            "notes": list(found.notes),
        }
        for name, found in record.found.items()
    }
    write_json(path, _rounded({"schema": SCHEMA, **record._asdict(), "found": found}))


def _plain_row(row: Measurement) -> dict[str, Any]:
    return {
        "case": row.case,
        "timing": None if row.timing is None else row.timing._asdict(),
        "figures": {name: figure._asdict() for name, figure in row.figures.items()},
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value


def read_record(path: Path) -> Record:
    """Read what :func:`write_record` wrote.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected a JSON file of `python -m bundle benchmark`, got {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: expected a file of `python -m bundle benchmark` with schema {SCHEMA}")
    try:
        found = {
            name: Found(
                [_row(row) for row in part["rows"]], [Scaling(**item) for item in part["scaling"]], part["notes"]
            )
            for name, part in content.pop("found").items()
        }
        return Record(**{key: value for key, value in content.items() if key != "schema"}, found=found)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a complete record of benchmarks: {error}") from error


def _row(row: Mapping[str, Any]) -> Measurement:
    timing = row["timing"]
    return Measurement(
        row["case"],
        None if timing is None else Timing(timing["median_ms"], tuple(timing["quartiles_ms"])),
        {name: Figure(**figure) for name, figure in row["figures"].items()},
    )


def merged(records: Sequence[Record]) -> Record:
    """What several runs found, as if it were one; a later one's benchmarks replace an earlier's.

    What was not touched between two commits need not be measured again: the commits are named in the order of the runs.

    Raises:
        ValueError: the runs are not of the same machine and kind.
    """
    first = records[0]
    for record in records:
        for name in ("machine", "device", "quick"):
            if getattr(record, name) != getattr(first, name):
                raise ValueError(f"the records differ in {name}: {getattr(first, name)} and {getattr(record, name)}")
    commands = dict.fromkeys(record.command for record in records)
    commits = dict.fromkeys(record.commit for record in records)
    found = {name: part for record in records for name, part in record.found.items()}
    return first._replace(command="; ".join(commands), commit="; ".join(commits), found=found)
