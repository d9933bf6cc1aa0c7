import json
import time

import pytest
import torch

from bundle.benchmark.measure import (
    Alternative,
    Figure,
    Found,
    Record,
    Row,
    Settings,
    compared,
    growth,
    peak_mib,
    timed,
    write_record,
)
from bundle.benchmark.page import figure_text, number, write_page

QUICK = Settings(rounds=3, quick=True)


def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_known_costs_are_found():
    times = timed({"short": lambda: spin(0.004), "long": lambda: spin(0.012)}, QUICK)
    assert times["short"][1] == pytest.approx(4, abs=1)
    assert times["long"][1] == pytest.approx(12, abs=1)
    assert times["long"] == tuple(sorted(times["long"]))


def test_alternatives_take_turns():
    calls = []
    timed({name: lambda name=name: (calls.append(name), spin(0.002)) for name in "ab"}, QUICK)
    turns = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert turns == list("ababab")


def test_sleep_is_not_work():
    assert timed({"sleep": lambda: time.sleep(0.01)}, Settings(rounds=1, quick=True))["sleep"][1] < 5


def test_peak_memory_counts_what_is_held_at_a_time():
    def two_and_then_one():
        first = torch.zeros(2**18)
        second = first + 1
        del first
        return second + 1

    assert peak_mib(two_and_then_one) == pytest.approx(2, abs=0.01)


def test_rows_compare_with_the_floor_and_the_plain_way():
    ways = {
        "plain": Alternative(lambda: spin(0.012), "floor"),
        "ours": Alternative(lambda: spin(0.006), "floor", floors=2, limit=1.0, faster=1.5, most_mib=1.0),
        "floor": Alternative(lambda: spin(0.002)),
    }
    rows = {row.case: row.figures for row in compared(ways, QUICK, plain="plain", prefix="case: ")}
    ours = rows["case: ours"]
    assert ours["times its floor"].value == pytest.approx(1.5, rel=0.2)
    assert not ours["times its floor"].met
    assert ours["times faster than plain"].value == pytest.approx(2, rel=0.2)
    assert ours["times faster than plain"].met
    assert ours["memory"] == Figure(0.0, 1.0, unit="MiB")
    assert rows["case: plain"].keys() == {"memory", "times its floor"}
    assert rows["case: floor"].keys() == {"memory"}


def test_growth_grows():
    found = growth("MiB", [1, 4], lambda n: {"zeros": lambda: torch.zeros(n * 2**18)}, QUICK)
    assert found.mib == {"zeros": [pytest.approx(1), pytest.approx(4)]}
    assert len(found.ms["zeros"]) == 2


@pytest.mark.parametrize(
    ("figure", "text", "met"),
    [
        (Figure(1.5, 1.6), "1.5 (≤ 1.6)", True),
        (Figure(1.7, 1.6), "**1.7** (≤ 1.6)", False),
        (Figure(9.0, 10.0, True), "**9** (≥ 10)", False),
        (Figure(3.0, unit="MiB"), "3 MiB", True),
        (Figure(float("nan"), 1.0, unit=""), "**nan** (≤ 1)", False),
    ],
)
def test_a_figure_says_whether_it_keeps_its_limit(figure, text, met):
    assert figure_text(figure) == text
    assert figure.met is met


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (123.4, "123"), (0.01234, "0.0123"), (1.2e-5, "1.2e-05")])
def test_numbers(value, text):
    assert number(value) == text


def test_the_record_and_the_page(tmp_path):
    rows = [Row("ours", (2.5, 3.0, 4.00001), {"times its floor": Figure(1.7, 1.6)}), Row("waiting")]
    found = {"fake": Found(rows, notes=["A note."])}
    record = Record("a command", "abc", "a machine", "cpu", 3, False, found)
    write_record(tmp_path / "record.json", record)
    content = json.loads((tmp_path / "record.json").read_text())
    assert content["found"]["fake"]["rows"][0]["ms"] == [2.5, 3.0, 4.0]
    write_page(tmp_path / "page.md", record, {"fake": pytest})
    page = (tmp_path / "page.md").read_text()
    assert "0 of 1 limits are kept. Missed:\n\n- fake, ours: times its floor **1.7** (≤ 1.6)" in page
    assert "| ours | 3 (2.5 to 4) | **1.7** (≤ 1.6) |\n| waiting | – | – |" in page
    assert "- A note." in page
