"""Files appear together or not at all."""

import errno
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from scripts.io.atomic_folder import files_together
from tests.faults import needs_fork, points_of, run_until


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


def test_files_that_an_earlier_run_wrote_are_removed_if_they_are_named(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text("old")
    with files_together(tmp_path, last="b", replaced=["a", "b", "d"]) as folder:
        (folder / "b").write_text("new")
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == {"b": "new", "c": "old"}


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


def test_a_mount_point_is_a_target_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a mount point a rename from outside fails with EXDEV."""
    target = tmp_path / "mounted"
    target.mkdir()
    (target / "summary.json").write_text("old")
    rename = os.replace

    def within_one_file_system(source: str | Path, destination: str | Path) -> None:
        if Path(source).is_relative_to(target) != Path(destination).is_relative_to(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, destination)

    monkeypatch.setattr(os, "replace", within_one_file_system)
    write(target, "new")
    assert (target / "summary.json").read_text() == "new"


def test_a_folder_in_the_place_of_a_file_is_refused_before_the_old_marker_goes(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("old")
    (tmp_path / "map").mkdir()
    with pytest.raises(IsADirectoryError, match="map': expected a file to replace, got a folder"):
        write(tmp_path, "new")
    assert (tmp_path / "summary.json").read_text() == "old"


def write(folder: Path, text: str) -> None:
    with files_together(folder, last="summary.json") as new:
        for name in ("map", "mask", "summary.json"):
            (new / name).write_text(text)


@pytest.mark.slow
@needs_fork
def test_a_kill_at_any_point_hides_nothing_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    write(tmp_path / "counted", "old")
    points = points_of(partial(write, tmp_path / "counted", "new"))
    assert len(points) > 20
    for point, name in enumerate(points):
        folder = tmp_path / str(point)
        write(folder, "old")
        assert run_until(point, partial(write, folder, "new")) == -signal.SIGKILL
        found = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
        assert {"map", "mask"} <= found.keys(), name
        if "summary.json" in found:  # the marker says that all files are of one run
            assert len(set(found.values())) == 1, (name, found)
        write(folder, "newer")
        assert names(folder) == ["map", "mask", "summary.json"], name
        assert {path.read_text() for path in folder.iterdir()} == {"newer"}
