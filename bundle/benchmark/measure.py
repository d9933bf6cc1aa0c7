"""Measure time and memory of ways to do the same thing, which take turns, and compare them with limits."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Measurement, Timer
from torch.utils.benchmark.utils.timer import timer as default_timer

Run = Callable[[], Any]
CPU = torch.device("cpu")


class Settings(NamedTuple):
    """What every benchmark is told.

    Attributes:
        device: where to run what can run there.
        rounds: in which the ways take turns.
        quick: use the smallest sizes, to see that it works.
        dataset_dir: a data set with `datalist.json`, for what needs trained weights to mean something.
    """

    device: torch.device = CPU
    rounds: int = 5
    quick: bool = False
    dataset_dir: Path = Path()


class Figure(NamedTuple):
    """A number, its unit ("" for a ratio), and the most that is wanted, if there is a limit."""

    what: str
    value: float
    limit: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the limit is kept; NaN keeps none."""
        return self.limit is None or self.value <= self.limit


class Group(NamedTuple):
    """Ways to do the same thing: a row of the table of times, with a column for each way.

    Attributes:
        name: what is done.
        ways: a function for each way.
        ratios: the most time of one way over that of another, by both names; None to show the ratio alone.
        most_mib: the most memory of a way; None to show it alone.
        most_rounds: fewer rounds than the settings ask for, where a round takes minutes.
    """

    name: str
    ways: Mapping[str, Run]
    ratios: Mapping[tuple[str, str], float | None] = {}
    most_mib: Mapping[str, float | None] = {}
    most_rounds: int = 1000


def timed(group: Group, settings: Settings) -> dict[str, Measurement]:
    """The time of each way by `torch.utils.benchmark.Timer`, in turns: disturbances hit all of them alike.

    On a CPU the time of the process counts, on a GPU the clock after all of its work.
    """
    clock = default_timer if settings.device.type == "cuda" else time.process_time
    timers = [
        Timer("run()", globals={"run": run}, timer=clock, label="median times", sub_label=group.name, description=way)
        for way, run in group.ways.items()
    ]
    seconds = 0.001 if settings.quick else 0.2
    rounds = range(min(settings.rounds, group.most_rounds))
    taken = [timer.blocked_autorange(min_run_time=seconds) for _ in rounds for timer in timers]
    return {str(merged.task_spec.description): merged for merged in Measurement.merge(taken)}


def figures(group: Group, times: Mapping[str, Measurement], settings: Settings) -> list[Figure]:
    """The ratios of the medians of a group's times, and the memory of its ways."""
    ratios = [
        Figure(f"{group.name}: {way} / {other}", times[way].median / times[other].median, limit)
        for (way, other), limit in group.ratios.items()
    ]
    memory = [
        Figure(f"{group.name}: memory of {way}", peak_mib(group.ways[way], settings.device), limit, "MiB")
        for way, limit in group.most_mib.items()
    ]
    return [*ratios, *memory]


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
