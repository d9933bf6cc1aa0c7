"""Names that hurt later are refused at once, and no cell is a formula."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.io import CaseError, case_name
from scripts.io.names import MAX_NAME_BYTES, csv_cell, name_problem, repeated_names


@pytest.mark.parametrize(
    "name",
    [
        "a\u2028b",
        "a\u2029b",
        "lesion\u202egnp.nii",
        "\u2066a\u2069",
        "\u200fa",
        "a\x7f",
        "a\x85",
        "a\udcff",
        "a\ufeff",
        "x" * (MAX_NAME_BYTES + 1),
        "ü" * (MAX_NAME_BYTES // 2 + 1),
        "cases.csv",
        "Metrics.CSV",
        "summary.json",
        "a.",
        "a ",
        " a",
        ".a",
        "con",
        "NUL.nii",
        "com1",
        "a:b",
        "a?",
    ],
)
def test_a_name_that_would_fail_later_is_refused_in_one_line(name):
    with pytest.raises(CaseError, match="expected a name that can be a folder's name, got ") as caught:
        case_name({"case": name, "image": "x.nii"})
    message = str(caught.value)
    assert message.isprintable()
    message.encode()  # no lone surrogate


@pytest.mark.parametrize(
    "name", ["case_7", "a b", "Patient-1", "größe", "患者", "x" * MAX_NAME_BYTES, "=1+1", "console"]
)
def test_other_names_are_taken(name):
    assert case_name({"case": name, "image": "x.nii"}) == name


def test_a_derived_name_is_refused_with_its_file():
    with pytest.raises(CaseError, match=r"image '/d/a:b\.nii': expected a name"):
        case_name({"image": "/d/a:b.nii"})


@pytest.mark.parametrize(
    ("path", "name"),
    [("/x/case_studies/A/ctp.nii", "ctp"), ("/x/case_old/ctp.nii", "ctp"), ("/x/CASE_12/a/ctp.nii", "CASE_12")],
)
def test_only_numbered_folders_of_isles_name_a_case(path, name):
    assert case_name({"image": path}) == name


@given(name=st.text(max_size=40).filter(lambda name: name_problem(name) is None))
def test_a_name_without_problem_is_a_folder_and_stays_in_its_place(name):
    with tempfile.TemporaryDirectory() as root:
        Path(root, name).mkdir()
        assert os.listdir(root) == [name]


def test_names_that_some_file_system_takes_for_one_are_repeated():
    assert repeated_names(["A", "b", "a", "\u00e9", "e\u0301"]) == [
        "the name 'A' is used for 2 cases",
        "the name '\u00e9' is used for 2 cases",
    ]


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_formula_becomes_a_text(value):
    assert csv_cell(value) == f"'{value}"


@pytest.mark.parametrize("value", ["case_7", "a=b", "", -1.5, 3, None])
def test_other_cells_stay(value):
    assert csv_cell(value) is value
