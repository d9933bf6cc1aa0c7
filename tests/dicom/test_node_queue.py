"""The queue on disk: killed at each point of its writing, with a disk that is full for a moment, and in any order."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from scripts.dicom.node.identity import InstanceUIDs
from scripts.dicom.node.inbox import CT_IMAGES, Inbox, Limits
from scripts.dicom.node.records import DONE, FAILED, Records
from scripts.dicom.node.worker import Rules, UnreachableError, Worker
from tests.faults import full_disk, kill, needs_fork, points_of, run_until

CT = next(iter(CT_IMAGES))
STUDIES = ("a", "b")
RESULTS = 2


def uids(study, number):
    return InstanceUIDs(CT, f"1.2.{study}.{number}", f"1.2.{study}")


def key(study):
    return uids(study, 0).study_key


def process(study, out):
    """Results that name the instances that they were made of."""
    names = sorted(path.read_text() for path in study.iterdir())
    for number in range(RESULTS):
        (out / f"{number}.dcm").write_text(f"{' '.join(names)} -> {number}")
    return sorted(out.iterdir())


def results(study, count):
    """What `process` makes of the first instances of a study."""
    names = " ".join(sorted(f"1.2.{study}.{number}" for number in range(count)))
    return {f"{names} -> {number}" for number in range(RESULTS)}


def store(inbox, study, number):
    return inbox.store(uids(study, number), [f"1.2.{study}.{number}".encode()])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "node"


def run(folder, received, count=2):
    """A sender that sends both studies anew, and a node that works until nothing is left to do."""
    inbox = Inbox(folder, Limits(free_bytes=0))
    for study in STUDIES:
        for number in range(count):
            while True:
                try:
                    store(inbox, study, number)
                    break
                except OSError:  # answered with a failure, and sent again
                    continue

    def send(files, delivered):
        for path in files:
            with received.open("a") as log:
                log.write(path.read_text() + "\n")
            delivered(path, "")

    worker = Worker(folder, inbox, Records(folder), process, send, Rules(quiet_s=0, retry_s=0, attempts=3))
    while worker.step():
        pass


def expected(count=2):
    return set().union(*(results(study, count) for study in STUDIES))


def check(folder, received, count=2):
    records = Records(folder)
    assert {record.study: record.state for record in records.all()} == {key(study): DONE for study in STUDIES}
    assert expected(count) <= set(received.read_text().splitlines())
    left = [path.parent.name for path in folder.rglob("*") if path.is_file() and ".tmp" in path.name]
    assert not left


def changing(points):
    """The points between which the names on the disk differ, as a kill leaves them."""
    return [n for n, name in enumerate(points) if name == "os.replace before" or re.search("[^c] after", name)]


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("fault", [kill, full_disk])
def test_every_result_arrives_whatever_point_the_fault_is_at(tmp_path, fault):
    folder, received = tmp_path / "node", tmp_path / "received"
    points = points_of(lambda: run(folder, received))
    check(folder, received)
    assert Counter(received.read_text().splitlines()) == dict.fromkeys(expected(), 1)
    chosen = changing(points) if fault is kill else range(0, len(points), 6)
    assert len(chosen) > 30
    for point in chosen:
        shutil.rmtree(folder, ignore_errors=True)
        received.write_text("")
        status = run_until(point, lambda: run(folder, received), fault)
        assert status in ((-signal.SIGKILL,) if fault is kill else (0, 1))
        run(folder, received)
        check(folder, received)
        assert set(received.read_text().splitlines()) == expected(), points[point]  # nothing else was made
        # Only a result that was under way when the node was killed goes twice, as the same instance.
        assert sum(Counter(received.read_text().splitlines()).values()) <= len(expected()) + 1


@needs_fork
def test_a_kill_in_the_second_round_loses_neither_round(tmp_path):
    folder, received = tmp_path / "node", tmp_path / "received"
    run(folder, received)
    shutil.copytree(folder, tmp_path / "first", symlinks=True)
    points = points_of(lambda: run(folder, received, 3))
    for point in changing(points)[::4]:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "first", folder)
        received.write_text("")
        run_until(point, lambda: run(folder, received, 3))
        run(folder, received, 3)
        check(folder, received, 3)
        assert set(received.read_text().splitlines()) == expected(3)
        assert {record.round for record in Records(folder).all()} == {2}


def test_a_record_that_is_damaged_is_processed_again(folder, tmp_path, caplog):
    received = tmp_path / "received"
    run(folder, received)
    (folder / "records" / f"{key('a')}.json").write_text("{")
    run(folder, received)
    check(folder, received)
    assert f"study {key('a')}: its record cannot be read" in caplog.text
    assert Counter(received.read_text().splitlines()) == {
        **dict.fromkeys(results("a", 2), 2),
        **dict.fromkeys(results("b", 2), 1),
    }


def test_a_study_that_ends_the_node_each_time_fails_in_the_end(folder):
    inbox = Inbox(folder, Limits(free_bytes=0))
    store(inbox, "a", 0)

    class Killed(BaseException):
        pass

    def deadly(study, out):
        raise Killed

    for _ in range(30):
        worker = Worker(folder, inbox, Records(folder), deadly, lambda *_: None, Rules(quiet_s=0))
        try:
            while worker.step():
                pass
            break
        except Killed:
            continue
    record = Records(folder)[key("a")]
    assert (record.state, record.reason) == (FAILED, "the processing was interrupted 20 times")


def test_pauses_grow_to_a_limit(folder):
    now = [0.0]
    inbox = Inbox(folder, Limits(free_bytes=0), clock=lambda: now[0])
    store(inbox, "a", 0)
    tries = []

    def down(files, delivered):
        tries.append(now[0])
        raise UnreachableError("down")

    rules = Rules(quiet_s=10, retry_s=5, retry_max_s=60)
    worker = Worker(folder, inbox, Records(folder), process, down, rules, clock=lambda: now[0])
    while now[0] < 400:
        while worker.step():
            pass
        now[0] += 1
    gaps = [later - earlier for earlier, later in zip(tries, tries[1:], strict=False)]
    assert tries[0] == 10
    assert gaps == [5, 10, 20, 40, 60, 60, 60, 60, 60]


class Killed(BaseException):
    """A kill at a point where no clean-up matters."""


class AnyOrder(RuleBasedStateMachine):
    """Instances come, the node is killed, the receiver is down or refuses, in any order; then all arrives."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.now = 0.0
        self.sent: dict[str, int] = dict.fromkeys(STUDIES, 0)
        self.received: list[str] = []
        self.down = False
        self.kill_after: int | None = None
        self.restart()

    def teardown(self):
        if not hasattr(self, "folder"):
            return
        self.down, self.kill_after = False, None
        for _ in range(200):
            self.now += 1000
            self.worker.step()
        states = {record.study: record.state for record in self.records.all()}
        assert states == {key(study): DONE for study, count in self.sent.items() if count}
        for study, count in self.sent.items():
            made = [text for text in self.received if text.startswith(f"1.2.{study}.")]
            assert not count or results(study, count) <= set(made)
            assert set(made) <= set().union(*(results(study, number) for number in range(1, count + 1)))
        shutil.rmtree(self.folder)

    @rule()
    def restart(self):
        self.inbox = Inbox(self.folder, Limits(free_bytes=0), clock=lambda: self.now)
        self.records = Records(self.folder)
        rules = Rules(quiet_s=10, attempts=1000, retry_s=1, retry_max_s=10)
        self.worker = Worker(
            self.folder, self.inbox, self.records, self.process, self.send, rules, clock=lambda: self.now
        )

    @rule(study=st.sampled_from(STUDIES))
    def receive(self, study):
        assert store(self.inbox, study, self.sent[study])
        self.sent[study] += 1

    @rule(study=st.sampled_from(STUDIES))
    def receive_again(self, study):
        if self.sent[study]:
            assert not store(self.inbox, study, 0)

    @rule(seconds=st.sampled_from([1, 9, 11]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def step(self):
        try:
            self.worker.step()
        except Killed:
            self.kill_after = None
            self.restart()

    @rule()
    def switch_receiver(self):
        self.down = not self.down

    @rule(count=st.integers(0, 3))
    def kill_soon(self, count):
        self.kill_after = count

    def tick(self):
        if self.kill_after is not None:
            if self.kill_after == 0:
                raise Killed
            self.kill_after -= 1

    def process(self, study, out):
        self.tick()
        paths = process(study, out)
        self.tick()
        return paths

    def send(self, files, delivered):
        for path in files:
            self.tick()
            if self.down:
                raise UnreachableError("down")
            self.received.append(path.read_text())
            self.tick()
            delivered(path, "")


AnyOrder.TestCase.settings = settings(max_examples=25, stateful_step_count=40)
TestAnyOrder = AnyOrder.TestCase
