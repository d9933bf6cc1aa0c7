"""Kills and full disks in the middle of writes: an earlier result or the new one, and nothing of the input gone."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from scripts.workflow import ResultWriter
from tests.faults import full_disk, kill, needs_fork, points_of, run_until
from tests.workflow.test_result_writer import consistent, item
from tests.workflow.test_resume import FILES, contents, train

from .campaign import ERROR, EXAMPLES, LOST, NEAR, Base, Verdict, command, digests, some

Count = Callable[[str, str, Verdict], None]
pytestmark = needs_fork
FAULTS = {"kill": kill, "full disk": full_disk}


def write_cases(folder: Path, *cases: tuple[str, int]) -> None:
    writer = ResultWriter(folder)
    for case, voxels in cases:
        writer.write_case(item(case, voxels))


@pytest.mark.parametrize("fault", FAULTS)
def test_results_of_a_case(fault: str, tmp_path: Path, count: Count) -> None:
    old, new = (("a", 10), ("b", 20)), (("a", 50),)
    ready, expected = tmp_path / "ready", tmp_path / "expected"
    write_cases(ready, *old)
    write_cases(shutil.copytree(ready, expected), *new)
    points = points_of(partial(write_cases, shutil.copytree(ready, tmp_path / "counted"), *new))
    for point in some(range(len(points))):
        folder = shutil.copytree(ready, tmp_path / str(point))
        status = run_until(point, partial(write_cases, folder, *new), FAULTS[fault])
        consistent(folder)
        there = (folder / "a" / "a_lesion.nii.gz").is_file() and digests(folder / "b") == digests(ready / "b")
        write_cases(folder, *new)
        whole = there and digests(folder) == digests(expected)
        clear = status == -signal.SIGKILL if fault == "kill" else status in (0, 1)  # a sync of a folder may fail
        count(f"{fault}, results", points[point], Verdict(NEAR if whole and clear else LOST, f"status {status}"))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_folder_of_a_summary(fault: str, base: Base, tmp_path: Path, count: Count) -> None:
    series, ready = base.folder / "base.nii", base.folder / "base"
    before, old = series.read_bytes(), digests(ready)

    def run(folder: Path) -> None:
        assert command(series, folder, "--delay-s", "4")[0] is not None

    run(shutil.copytree(ready, tmp_path / "expected"))
    new = digests(tmp_path / "expected")
    points = points_of(partial(run, shutil.copytree(ready, tmp_path / "counted")))
    for point in some(range(len(points)), min(EXAMPLES, 30)):
        folder = shutil.copytree(ready, tmp_path / str(point))
        run_until(point, partial(run, folder), FAULTS[fault])
        left = {name: digest for name, digest in digests(folder).items() if not name.startswith(".")}
        complete = left in (old, new) if "summary.json" in left else set(left) == set(old) - {"summary.json"}
        run(folder)
        whole = complete and digests(folder) == new and series.read_bytes() == before
        count(f"{fault}, summary", points[point], Verdict(NEAR if whole else LOST, ", ".join(sorted(left))))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("resumed", [False, True], ids=["training", "resuming"])
def test_checkpoints(resumed: bool, fault: str, tmp_path: Path, count: Count) -> None:
    train(tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    started = tmp_path / "started"
    started.mkdir()
    if resumed:
        points = points_of(partial(train, tmp_path / "first"))
        between = [index for index, name in enumerate(points) if name == "os.replace after"][2]
        assert run_until(between, partial(train, started)) == -signal.SIGKILL
    action = partial(train, resume=resumed)
    points = points_of(partial(action, shutil.copytree(started, tmp_path / "counted")))
    for point in some(range(len(points)), min(EXAMPLES, 40)):
        folder = shutil.copytree(started, tmp_path / str(point))
        run_until(point, partial(action, folder), FAULTS[fault])
        had = {name for name in FILES if (started / name).exists()}
        kept = had <= set(contents(folder))
        train(folder, resume=True)
        whole = kept and contents(folder) == expected
        count(f"{fault}, checkpoints", f"{resumed} {points[point]}", Verdict(NEAR if whole else LOST, ""))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed; full disks are injected above")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_small_full_disk(small_disk: Path, base: Base, count: Count) -> None:
    out = small_disk / "out"
    shutil.copytree(base.folder / "base", out)
    before = digests(out)
    free = shutil.disk_usage(small_disk).free
    for share in some([1.0, 0.99, 0.9, 0.8, 0.6, 0.4]):
        filler = small_disk / "filler"
        filler.write_bytes(bytes(int(share * free) // 4096 * 4096))
        found, said = command(base.folder / "base.nii", out, "--delay-s", "4")
        filler.unlink()
        if found is None:
            clear = "No space left" in said and str(small_disk) in said and said.count("\n") <= 1
            kept = digests(out) == before
            verdict = Verdict(ERROR if clear and kept else LOST, said)
        else:
            verdict = Verdict(NEAR, "there was room")
            before = digests(out)
        count("full disk, real", f"{share:.0%} of what was free taken", verdict)
