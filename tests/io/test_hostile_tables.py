"""A table of patients from elsewhere is read, or refused in a line that names it."""

from pathlib import Path

import pytest

from scripts.io.errors import DatasetError
from scripts.io.splits import split_cases
from scripts.io.subjects import case_number, subjects_from_table
from tests.robustness.tables import HOSTILE


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_table_is_named(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_bytes(HOSTILE[fault])
    with pytest.raises(DatasetError) as caught:
        subjects_from_table(path, ["case_1"])
    assert all(str(problem).startswith(f"patients '{path}'") for problem in caught.value.problems)
    assert len(str(caught.value)) < 12_000


def test_a_table_without_end_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(DatasetError, match="expected a table of at most 16777216 bytes, got 1099511627776"):
        subjects_from_table(path, ["case_1"])


def test_blank_lines_do_not_shift_the_line_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("case,subject\n\n\n1,\n")
    with pytest.raises(DatasetError, match="line 4: expected one subject for case '1'"):
        subjects_from_table(path, ["case_1"])


def test_a_number_that_no_integer_holds_is_no_case_number() -> None:
    assert case_number("case_" + "9" * 5000) is None
    assert case_number("CASE_007") == 7


def test_a_split_that_no_memory_holds_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match="expected few enough to split exactly, got 20000"):
        split_cases([{"case": str(i)} for i in range(20_000)])
