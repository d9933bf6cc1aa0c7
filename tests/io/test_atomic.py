import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.io import atomic_path, write_json
from scripts.io.atomic import temporary_path
from tests.faults import full_disk, needs_fork, points_of, run_until


def test_replaces_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1, 2.5, None, "ü"]})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"a": [1, 2.5, None, "ü"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "y.json", float("nan"))
    assert not (tmp_path / "y.json").exists()


@needs_fork
def test_a_kill_or_a_full_disk_at_any_point_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for point in range(len(points_of(lambda: write_json(path, "new")))):
        for fault in (None, full_disk):
            path.write_text('"old"\n')
            status = run_until(point, lambda: write_json(path, "new"), *([fault] if fault else []))
            assert status == -signal.SIGKILL if fault is None else status in (0, 1)
            assert json.loads(path.read_text()) in ("old", "new")
    write_json(path, "last")
    assert list(tmp_path.iterdir()) == [path]  # what the killed processes left is gone


@needs_fork
def test_what_a_running_process_writes_stays(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from scripts.io.atomic import temporary_path\n"
        "with temporary_path(sys.argv[2]) as path:\n"
        "    path.mkdir(); print(path, flush=True); sys.stdin.read()\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    arguments = [sys.executable, "-c", script, root, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        foreign = tmp_path / ".ctp-stroke-notes.tmp"
        foreign.write_text("a user's")
        with temporary_path(tmp_path):
            assert theirs.is_dir()
        other.send_signal(signal.SIGKILL)
    write_json(tmp_path / "x.json", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [foreign.name, "x.json"]


def test_a_file_of_an_unknown_machine_goes_after_a_day(tmp_path: Path) -> None:
    elsewhere = tmp_path / ".ctp-stroke-00000000-1-00000000.tmp"
    elsewhere.write_text("")
    write_json(tmp_path / "x.json", 1)
    assert elsewhere.exists()
    os.utime(elsewhere, (0, 0))
    write_json(tmp_path / "x.json", 1)
    assert not elsewhere.exists()
