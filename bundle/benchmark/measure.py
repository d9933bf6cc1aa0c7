"""Time, peak memory and growth of alternatives that take turns, the rows that they make, and their record."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer
from torch.utils.benchmark.utils.timer import timer as default_timer
from tqdm import tqdm

from scripts.io import write_json

Run = Callable[[], Any]
TIMES, MIB = "x", "MiB"
SCHEMA = "ctp_stroke_lesion_segmentation/benchmark/2"


CPU = torch.device("cpu")


class Settings(NamedTuple):
    """What every benchmark is told.

    Attributes:
        device: where to run what can run there.
        rounds: in which the alternatives take turns.
        quick: use the smallest sizes, to see that it works.
        dataset_dir: a data set with `datalist.json`, for what needs trained weights to mean something.
    """

    device: torch.device = CPU
    rounds: int = 5
    quick: bool = False
    dataset_dir: Path = Path()


class Figure(NamedTuple):
    """A number that says how good something is, its unit ("x" is a ratio), and the most, or least, that is wanted."""

    value: float
    limit: float | None = None
    higher_is_better: bool = False
    unit: str = TIMES

    @property
    def met(self) -> bool:
        """Whether the limit, if there is one, is kept."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.higher_is_better else self.value <= self.limit


class Row(NamedTuple):
    """A row of a table: what was run, unique in its benchmark; quartiles of its time in ms, if timed; its figures."""

    case: str
    ms: tuple[float, ...] | None = None
    figures: Mapping[str, Figure] = {}


class Growth(NamedTuple):
    """By alternative, the median time and the peak memory at each point of what grows."""

    axis: str
    points: Sequence[float]
    ms: Mapping[str, Sequence[float]]
    mib: Mapping[str, Sequence[float]]


class Found(NamedTuple):
    """What one benchmark found; `notes` are sentences for the page."""

    rows: Sequence[Row]
    growth: Sequence[Growth] = ()
    notes: Sequence[str] = ()


class Record(NamedTuple):
    """What a run of benchmarks found, by their names, and where."""

    command: str
    commit: str
    machine: str
    device: str
    rounds: int
    quick: bool
    found: Mapping[str, Found]


class Alternative(NamedTuple):
    """A way to do something, and what is wanted of it.

    Attributes:
        run: does it.
        floor: name of the alternative that is the least that it can take.
        floors: how often it needs that.
        limit: the most times its floor.
        faster: the least times faster than the plain way.
        most_mib: the most memory.
    """

    run: Run
    floor: str = ""
    floors: float = 1
    limit: float | None = None
    faster: float | None = None
    most_mib: float | None = None


def timed(runs: Mapping[str, Run], settings: Settings, most_rounds: int = 1000) -> dict[str, tuple[float, ...]]:
    """Quartiles of the time in ms by `torch.utils.benchmark.Timer`, in turns: disturbances hit all of them alike.

    On a CPU the time of the process counts, on a GPU the clock after all of its work.
    """
    clock = default_timer if settings.device.type == "cuda" else time.process_time
    timers = {name: Timer("run()", globals={"run": run}, timer=clock) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in tqdm(range(min(settings.rounds, most_rounds)), desc="timing", leave=False):
        for name, timer in timers.items():
            seconds[name] += timer.blocked_autorange(min_run_time=0.001 if settings.quick else 0.2).times
    return {name: quartiles_ms(values) for name, values in seconds.items()}


def quartiles_ms(seconds: Sequence[float]) -> tuple[float, ...]:
    """The quartiles in ms of times in s."""
    return tuple(float(value) for value in 1000 * np.quantile(seconds, [0.25, 0.5, 0.75]))


def peak_mib(function: Run, device: torch.device = CPU) -> float:
    """Most memory in MiB that tensors allocated by a function take at a time, its result included."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        result = function()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    del result
    return float(held.max(initial=0)) / 2**20


def compared(
    alternatives: Mapping[str, Alternative],
    settings: Settings,
    *,
    plain: str = "",
    prefix: str = "",
    most_rounds: int = 1000,
    memory_mib: Callable[[Run], float] | None = None,
) -> list[Row]:
    """A row for each alternative: time, memory, and how it compares with its floor and with the plain one."""
    times = timed({name: way.run for name, way in alternatives.items()}, settings, most_rounds)
    rows = []
    for name, way in alternatives.items():
        mib = peak_mib(way.run, settings.device) if memory_mib is None else memory_mib(way.run)
        figures = {"memory": Figure(mib, way.most_mib, unit=MIB)}
        if way.floor:
            figures["times its floor"] = Figure(times[name][1] / (way.floors * times[way.floor][1]), way.limit)
        if plain and plain != name and way.floor:
            figures[f"times faster than {plain}"] = Figure(times[plain][1] / times[name][1], way.faster, True)
        rows.append(Row(prefix + name, times[name], figures))
    return rows


def growth(
    axis: str, points: Sequence[float], runs_at: Callable[[int], Mapping[str, Run]], settings: Settings
) -> Growth:
    """Time and memory of alternatives at every point; made one point after the other, as tensors may be large."""
    ms: dict[str, list[float]] = {}
    mib: dict[str, list[float]] = {}
    for point in points:
        runs = runs_at(int(point))
        for name, quartiles in timed(runs, settings, 2).items():
            ms.setdefault(name, []).append(quartiles[1])
            mib.setdefault(name, []).append(peak_mib(runs[name], settings.device))
    return Growth(axis, list(points), ms, mib)


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, with its floats to four significant digits."""
    write_json(path, {"schema": SCHEMA, **_plain(record)})


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
