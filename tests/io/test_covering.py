"""An output never takes the place of an input."""

import pytest

from scripts.io.covering import refuse_covering
from scripts.io.errors import DatasetError


def test_other_files_are_no_problem(tmp_path):
    (tmp_path / "in").write_text("in")
    (tmp_path / "old").write_text("old")
    refuse_covering([tmp_path / "old", tmp_path / "new" / "er"], [tmp_path / "in", tmp_path / "missing"])


@pytest.mark.parametrize("how", ["itself", "dotted", "symlink", "hardlink", "not there yet"])
def test_an_input_is_known_by_any_name(how, tmp_path):
    given, output = tmp_path / "in", tmp_path / "out"
    if how != "not there yet":
        given.write_text("in")
    if how in ("itself", "not there yet"):
        output = given
    elif how == "dotted":
        output = tmp_path / "x" / ".." / "in"
        (tmp_path / "x").mkdir()
    elif how == "symlink":
        output.symlink_to(given)
    else:
        output.hardlink_to(given)
    with pytest.raises(DatasetError, match="expected a place of its own, got that of the input"):
        refuse_covering([output], [given])


def test_a_file_in_the_place_of_a_folder_and_the_reverse(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError) as caught:
        refuse_covering([tmp_path / "file" / "a" / "b", tmp_path / "folder"], [])
    assert "expected a folder" in caught.value.problems[0]
    assert "got a folder" in caught.value.problems[1]
