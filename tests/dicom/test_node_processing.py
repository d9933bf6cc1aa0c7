"""The processing of a study as a process of its own: its words, its failures, and its end."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from scripts.dicom.node.processing import SegmentCommand
from scripts.dicom.node.worker import StoppedError
from tests.dicom.small_study import wait_for

RESULTS = """
import sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
(out / "ctp-1" / "dicom").mkdir(parents=True)
(out / "ctp-1" / "dicom" / "seg.dcm").write_text(" ".join(sys.argv[1:]))
(out / "ctp-1" / "report.pdf").write_text("no DICOM")
"""
FORKING = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(sys.argv[sys.argv.index("--out") + 1], "pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


@pytest.fixture
def folders(tmp_path):
    study, out = tmp_path / "study", tmp_path / "out"
    study.mkdir()
    out.mkdir()
    return study, out


def command(code, **options):
    return SegmentCommand(command=[sys.executable, "-c", code], **options)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().split()[2] != "Z"


def test_it_runs_segment_and_collects_the_dicom_files(folders):
    study, out = folders
    (path,) = command(RESULTS, options=["--device", "cuda"])(study, out)
    assert path == out / "ctp-1" / "dicom" / "seg.dcm"
    assert path.read_text() == f"segment {study} --out {out} --dicom --report --device cuda"


def test_a_failure_is_its_last_line(folders):
    code = "import sys; print('warning: one', file=sys.stderr); sys.exit('ctp-stroke: error: no series\\n')"
    with pytest.raises(RuntimeError, match="^exit status 1: ctp-stroke: error: no series$"):
        command(code)(*folders)


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(folders):
    with pytest.raises(TimeoutError, match="longer than 1.5 s"):
        command(FORKING, timeout_s=1.5)(*folders)
    pids = [int(word) for word in (folders[1] / "pids").read_text().split()]
    wait_for(lambda: not any(map(is_running, pids)), 5)


def test_a_stop_ends_it(folders):
    process = command(FORKING)
    threading.Timer(0.5, process.stop.set).start()
    began = time.monotonic()
    with pytest.raises(StoppedError):
        process(*folders)
    assert time.monotonic() - began < 10


def test_the_command_is_the_products_own(folders):
    with pytest.raises(RuntimeError, match="exit status 2: ctp-stroke segment: error: No such option: --"):
        SegmentCommand(["--nonsense"])(*folders)
