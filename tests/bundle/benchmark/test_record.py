import json
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.benchmark.compare import compare, is_worse
from bundle.benchmark.measurement import Figure, Found, Measurement, Record, Scaling, merged, read_record, write_record
from bundle.benchmark.page import number, page, write_page
from bundle.benchmark.timing import Timing


def record(ratio=1.5, difference=1e-3, **changes):
    figures = {
        "times its floor": Figure(ratio, 1.6),
        "times faster than plain": Figure(12.0, 10.0, True),
        "difference": Figure(difference, 1e-2, unit=""),
    }
    rows = [Measurement("ours", Timing(3.0, (2.5, 4.0)), figures), Measurement("waiting", None, {})]
    found = Found(rows, [Scaling("slices", [1, 2], {"ours": [1.0, 2.0]}, {"ours": [3.0, 4.0]})], ["A note."])
    values = {
        "command": "c",
        "commit": "0",
        "machine": "m",
        "device": "cpu",
        "floors": {"copy (GB/s)": 20.0},
        "repeats": 3,
        "quick": False,
    }
    return Record(**(values | changes), found={"fake": found})


def fake_module():
    return ModuleType("fake", "What is measured.")


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_record(tmp_path / "record.json", record())
    assert read_record(tmp_path / "record.json") == record()


@pytest.mark.parametrize("content", ["[]", '{"schema": "other"}'])
def test_another_file(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=r"x\.json: expected a file of `python -m bundle benchmark`"):
        read_record(tmp_path / "x.json")


def test_a_file_that_is_no_json(tmp_path):
    (tmp_path / "x.json").write_text("time: 3")
    with pytest.raises(ValueError, match=r"x\.json: expected a JSON file of `python -m bundle benchmark`, got "):
        read_record(tmp_path / "x.json")


def test_an_incomplete_record(tmp_path):
    path = tmp_path / "x.json"
    write_record(path, record())
    content = json.loads(path.read_text())
    del content["found"]["fake"]["rows"][0]["timing"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not a complete record"):
        read_record(path)


def test_a_record_is_as_good_as_itself():
    assert not any(change.worse for change in compare(record(), record()))


@pytest.mark.parametrize(("ratio", "worse"), [(1.6, False), (1.8, True), (0.5, False)])
def test_a_ratio_may_get_worse_by_the_tolerance(ratio, worse):
    changes = compare(record(), record(ratio), tolerance=0.15)
    assert [change.name for change in changes if change.worse] == ["times its floor"] * worse


@pytest.mark.parametrize(("difference", "worse"), [(9e-3, False), (2e-2, True)])
def test_a_difference_is_worse_where_it_leaves_its_limit(difference, worse):
    changes = compare(record(), record(difference=difference))
    assert [change.name for change in changes if change.worse] == ["difference"] * worse


@given(old=st.floats(0.1, 100), factor=st.floats(0.1, 10), higher=st.booleans())
def test_worse_is_worse_in_the_figures_direction(old, factor, higher):
    worse = is_worse(Figure(old, None, higher), Figure(old * factor, None, higher), 0.2)
    better = is_worse(Figure(old * factor, None, higher), Figure(old, None, higher), 0.2)
    assert not (worse and better)
    if not 0.75 < factor < 1.25:
        assert worse == ((factor > 1) != higher)


@pytest.mark.parametrize("change", [{"quick": True}, {"device": "cuda"}])
def test_records_of_other_kinds(change):
    with pytest.raises(ValueError, match=f"the records differ in {next(iter(change))}"):
        compare(record(), record(**change))


def test_records_without_anything_in_common():
    with pytest.raises(ValueError, match="no figure in common"):
        compare(record()._replace(found={}), record())


def test_a_negative_tolerance():
    with pytest.raises(ValueError, match="tolerance must not be negative, got -1"):
        compare(record(), record(), -1)


def test_runs_become_one():
    first, second = record(), record(command="d")
    both = merged([first, second._replace(found={"other": second.found["fake"]})])
    assert list(both.found) == ["fake", "other"]
    assert both.command == "c; d"
    assert merged([first, record(ratio=1.0)]).found == record(ratio=1.0).found


def test_the_commits_of_runs_are_named_in_order():
    assert merged([record(), record(commit="1"), record()]).commit == "0; 1"


def test_runs_of_other_machines_stay_apart():
    with pytest.raises(ValueError, match="the records differ in machine"):
        merged([record(), record(machine="another")])


def test_the_page_shows_limits_and_what_misses_them(tmp_path):
    text = page(record(ratio=1.75), {"fake": fake_module()})
    assert "2 of 3 limits are kept. Missed:\n\n- fake, ours: times its floor **1.75** (≤ 1.6)" in text
    assert "| ours | 3 (2.5 to 4) | **1.75** (≤ 1.6) | 12 (≥ 10) | 0.001 (≤ 0.01) |" in text
    assert "| waiting | – | – | – | – |" in text
    assert "What is measured." in text
    assert "- A note." in text
    assert "copy (GB/s) 20" in text
    assert "on a GPU nothing was measured" in text
    assert "A quick run" not in text
    assert "A quick run" in page(record(quick=True), {"fake": fake_module()})
    assert "on a GPU nothing was measured" not in page(record(device="cuda"), {"fake": fake_module()})


def test_the_page_has_its_pictures(tmp_path):
    write_page(tmp_path / "page.md", record(), {"fake": fake_module()})
    assert "](images/page_fake.png)" in (tmp_path / "page.md").read_text()
    assert (tmp_path / "images" / "page_fake.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234.5, "1234"), (12.34, "12.3"), (0.1234, "0.123"), (1.2e-7, "1.2e-07")]
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text
