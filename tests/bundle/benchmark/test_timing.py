import time

import pytest
import torch

from bundle.benchmark.timing import alternate, peak_memory_mib, summary

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_known_costs_are_found_in_turns():
    calls = []

    def costing(name, seconds):
        def function():
            calls.append(name)
            spin(seconds)

        return function

    timings = alternate({"short": costing("short", 0.004), "long": costing("long", 0.012)}, repeats=3)
    assert calls == ["short", "long"] * 4
    assert timings["short"].median_ms == pytest.approx(4, abs=1)
    assert timings["long"].median_ms == pytest.approx(12, abs=1)
    low, high = timings["long"].quartiles_ms
    assert low <= timings["long"].median_ms <= high


def test_sleep_is_not_work():
    assert alternate({"sleep": lambda: time.sleep(0.02)}, 1)["sleep"].median_ms < 5


def test_summary_gives_quartiles():
    timing = summary([5.0, 1.0, 3.0, 2.0, 4.0])
    assert timing == (3.0, (2.0, 4.0))


def test_no_repeats():
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        alternate({}, 0)


def test_peak_memory_of_known_allocations():
    def function():
        first = torch.zeros(2**20)  # 4 MiB
        del first
        second = torch.zeros(2**21)  # 8 MiB
        return second, torch.zeros(2**18)  # 1 MiB

    assert peak_memory_mib(function) == pytest.approx(9, abs=0.01)
    assert peak_memory_mib(lambda: None) == 0


@cuda
def test_peak_memory_on_a_gpu():
    device = torch.device("cuda")
    assert peak_memory_mib(lambda: torch.zeros(2**21, device=device), device) == pytest.approx(8, abs=0.1)


@cuda
def test_time_on_a_gpu():
    device = torch.device("cuda")
    small, large = (torch.rand(size, size, device=device) for size in (256, 4096))
    timings = alternate({"small": lambda: small @ small, "large": lambda: large @ large}, 5, device)
    assert timings["large"].median_ms > timings["small"].median_ms > 0
