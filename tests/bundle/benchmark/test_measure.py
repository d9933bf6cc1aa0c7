import time

import pytest
import torch

from bundle.benchmark.measure import Figure, Group, Settings, figures, peak_mib, timed

QUICK = Settings(rounds=3, quick=True)


def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_known_costs_are_found():
    times = timed(Group("a", {"short": lambda: spin(0.004), "long": lambda: spin(0.012)}), QUICK)
    assert times["short"].median == pytest.approx(0.004, abs=0.001)
    assert times["long"].median == pytest.approx(0.012, abs=0.001)
    assert times["long"].task_spec.sub_label == "a"


def test_ways_take_turns():
    calls = []
    timed(Group("a", {name: lambda name=name: (calls.append(name), spin(0.002)) for name in "ab"}), QUICK)
    turns = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert turns == list("ababab")


def test_sleep_is_not_work(monkeypatch):
    monkeypatch.setattr("torch.utils.benchmark.Timer.blocked_autorange", lambda self, min_run_time: self.timeit(3))
    assert timed(Group("a", {"sleep": lambda: time.sleep(0.01)}), Settings(rounds=1))["sleep"].median < 0.005


def test_peak_memory_counts_what_is_held_at_a_time():
    def two_and_then_one():
        first = torch.zeros(2**18)
        second = first + 1
        del first
        return second + 1

    assert peak_mib(two_and_then_one) == pytest.approx(2, abs=0.01)


def test_a_group_is_compared_with_its_limits():
    ways = {"plain": lambda: spin(0.012), "ours": lambda: spin(0.006), "zeros": lambda: torch.zeros(2**18)}
    group = Group("a", ways, {("ours", "plain"): 0.4, ("plain", "ours"): None}, {"zeros": 2.0})
    ours, plain, memory = figures(group, timed(group, QUICK), QUICK)
    assert ours.what == "a: ours / plain"
    assert ours.value == pytest.approx(0.5, rel=0.2)
    assert not ours.met
    assert plain.value == pytest.approx(2, rel=0.2)
    assert plain.met
    assert memory == Figure("a: memory of zeros", 1.0, 2.0, "MiB")
    assert memory.met


def test_few_rounds_where_one_takes_long():
    calls = []
    timed(Group("a", {"a": lambda: calls.append(spin(0.002))}, most_rounds=1), QUICK)
    once = len(calls)
    timed(Group("a", {"a": lambda: calls.append(spin(0.002))}, most_rounds=3), QUICK)
    assert len(calls) == 4 * once
