"""Timing of alternatives side by side, so that what else the machine does hits all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

CPU = torch.device("cpu")


class Timing(NamedTuple):
    """Time of repeated runs, in ms."""

    median_ms: float
    quartiles_ms: tuple[float, float]


def alternate(
    alternatives: Mapping[str, Callable[[], object]], repeats: int, device: torch.device = CPU
) -> dict[str, Timing]:
    """Run every alternative in turn, `repeats` times, after one run to warm up.

    Args:
        alternatives: name to function.
        repeats: how often each runs.
        device: where they run; on a CPU the process' time counts, on a GPU the time between two events.

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
            times_ms[name].append(run_ms(function, device))
    return {name: summary(values) for name, values in times_ms.items()}


def run_ms(function: Callable[[], object], device: torch.device = CPU) -> float:
    """Time of one run in ms, which :func:`alternate` takes of each."""
    return _device_ms(function) if device.type == "cuda" else _process_ms(function)


def _process_ms(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


def _device_ms(function: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def summary(times_ms: Sequence[float]) -> Timing:
    """Median and quartiles of times of the same thing."""
    low, middle, high = (round(float(value), 4) for value in np.quantile(times_ms, [0.25, 0.5, 0.75]))
    return Timing(middle, (low, high))


def peak_memory_mib(function: Callable[[], object], device: torch.device = CPU) -> float:
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


def one_thread() -> None:
    """Let torch use one thread, so that process time is the time of the work."""
    torch.set_num_threads(1)
