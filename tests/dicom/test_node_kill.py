"""The node as a process that is killed with SIGKILL while five studies come and go, and one that is told to stop."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from scripts.dicom.node.identity import study_key
from tests.conftest import ROOT
from tests.dicom.small_study import RESULTS, Pacs, instances, result_uids, send, uid, wait_for
from tests.processes import free_port

STUDIES = [f"study {number}" for number in range(5)]


class Process:
    """A node in a process of its own; its log is read as it comes."""

    def __init__(self, folder, port, pacs_port):
        command = [sys.executable, "-m", "tests.dicom.small_study", str(folder), str(port), str(pacs_port)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def says(self, pattern):
        return any(re.search(pattern, line) for line in list(self.lines))

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(30)


def send_until_stored(port, study, stop):
    """What a modality does: it sends the whole study again until each instance was answered with success."""
    while not stop.is_set():
        if send(port, instances(study)) == [0, 0, 0]:
            return
        time.sleep(0.1)


MOMENTS = [
    ("as it starts", None, 0.0),
    ("while instances come", "listens on", 0.15),
    ("when a study is there", "first instance", 0.0),
    ("while the studies are waiting", "first instance", 0.5),
    ("as the processing begins", "processing", 0.0),
    ("in the processing", "processing", 0.1),
    ("when the results are there", "processed in", 0.0),
    ("between two results", "result_0.dcm sent", 0.0),
    ("when a study is done", "done", 0.0),
    ("in the processing of the next", "done", 0.15),
]


@pytest.mark.slow
def test_killed_at_ten_moments_all_results_of_five_studies_arrive_and_none_as_another_instance(tmp_path):
    pacs, port, stop = Pacs(), free_port(), threading.Event()
    senders = [threading.Thread(target=send_until_stored, args=(port, study, stop), daemon=True) for study in STUDIES]
    try:
        for sender in senders:
            sender.start()
        kills = 0
        for moment, pattern, seconds in MOMENTS:
            node = Process(tmp_path / "node", port, pacs.port)
            reached(lambda: pattern is None or node.says(pattern))  # noqa: B023
            time.sleep(seconds)
            assert node.end(signal.SIGKILL) == -signal.SIGKILL, moment
            if finished(pacs):
                break
            kills += 1
        assert kills > len(MOMENTS) // 2
        node = Process(tmp_path / "node", port, pacs.port)
        wait_for(lambda: finished(pacs) and not any(sender.is_alive() for sender in senders), 60)
        time.sleep(1.5)  # nothing comes after the last
        assert node.end(signal.SIGTERM) == 0
    finally:
        node.process.kill()  # also where a moment did not come
        stop.set()
        pacs.stop()
    assert node.lines[-1].endswith("{'waiting': 0, 'processing': 0, 'sending': 0, 'done': 5, 'failed': 0}")
    counts = pacs.uids()
    assert set(counts) == set().union(*map(result_uids, STUDIES))
    by_uid: dict[str, set[bytes]] = {}
    for dataset in pacs.received:
        by_uid.setdefault(dataset.SOPInstanceUID, set()).add(dataset.PixelData + str(dataset.InstanceNumber).encode())
    assert all(len(contents) == 1 for contents in by_uid.values())
    assert sum(counts.values()) <= RESULTS * len(STUDIES) + len(MOMENTS)  # one under way may come again per kill


def reached(moment, seconds=10.0):
    """Wait for a moment; on a slow machine it may have passed in an earlier process, and any other does as well."""
    with contextlib.suppress(TimeoutError):
        wait_for(moment, seconds)


def finished(pacs):
    return set(pacs.uids()) == set().union(*map(result_uids, STUDIES))


def test_sigterm_ends_the_process_and_the_next_start_goes_on(tmp_path):
    pacs, port = Pacs(), free_port()
    try:
        node = Process(tmp_path / "node", port, pacs.port)
        wait_for(lambda: node.says("listens on"))
        assert send(port, instances("a")) == [0, 0, 0]
        assert node.end(signal.SIGTERM) == 0
        assert node.says("stopped; {'waiting': 1")
        assert not pacs.received
        node = Process(tmp_path / "node", port, pacs.port)
        wait_for(lambda: node.says(f"study {study_key(uid('a'))}: done"))
        assert node.end(signal.SIGINT) == 0
    finally:
        pacs.stop()
    assert pacs.uids() == Counter(dict.fromkeys(result_uids("a"), 1))
    assert not [line for line in node.lines if "Traceback" in line]
