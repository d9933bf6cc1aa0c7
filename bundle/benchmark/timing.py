"""Timing of alternatives side by side, so that what else the machine does hits all of them alike."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm


class Timing(NamedTuple):
    """Process time of repeated runs, in ms."""

    median_ms: float
    quartiles_ms: tuple[float, float]


def alternate(alternatives: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Run every alternative in turn, `repeats` times, after one run to warm up; process time counts.

    Args:
        alternatives: name to function.
        repeats: how often each runs.

    Raises:
        ValueError: `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    times_ms: dict[str, list[float]] = {name: [] for name in alternatives}
    for function in alternatives.values():
        function()
    for _ in tqdm(range(repeats), desc="timing", unit="round", leave=False):
        for name, function in alternatives.items():
            start = time.process_time()
            function()
            times_ms[name].append(1000 * (time.process_time() - start))
    return {name: _summary(values) for name, values in times_ms.items()}


def _summary(times_ms: list[float]) -> Timing:
    low, middle, high = (round(float(value), 2) for value in np.quantile(times_ms, [0.25, 0.5, 0.75]))
    return Timing(middle, (low, high))


def peak_memory_mib(function: Callable[[], object]) -> float:
    """Most memory in MiB that tensors allocated by a function take at a time, its result included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        result = function()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    del result
    return float(held.max(initial=0)) / 2**20


def one_thread() -> None:
    """Let torch use one thread, so that process time is the time of the work."""
    torch.set_num_threads(1)
