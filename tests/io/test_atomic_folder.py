"""Files appear together or not at all."""

from pathlib import Path

import pytest

from scripts.io.atomic_folder import files_together


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_appear_in_a_new_folder(tmp_path: Path) -> None:
    with files_together(tmp_path / "new" / "folder", last="b") as folder:
        (folder / "a").write_text("1")
        (folder / "b").write_text("2")
        assert folder.parent == tmp_path / "new" / "folder"  # the target may be a mount point: inside it
        assert names(folder.parent) == [folder.name]
    assert names(tmp_path / "new") == ["folder"]
    assert names(tmp_path / "new" / "folder") == ["a", "b"]


def test_files_of_the_same_name_are_replaced_and_others_stay(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text("old")
    with files_together(tmp_path, last="b") as folder:
        (folder / "a").write_text("new")
        (folder / "b").write_text("new")
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == {"a": "new", "b": "new", "c": "old"}


def test_an_error_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("old")

    def write() -> None:
        with files_together(tmp_path / "out", last="a") as folder:
            (folder / "a").write_text("new")
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        write()
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with (
        pytest.raises(NotADirectoryError, match="'.*file': expected a folder to write into, got a file"),
        files_together(tmp_path / "file", last="a"),
    ):
        pass
