"""What is done with a study, one step at a time: process, send, remove; each step ends with a change of its record."""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...io.atomic import sync, temporary_path
from .inbox import Inbox
from .records import DONE, FAILED, PROCESSING, SENDING, SENT, TO_SEND, WAITING, Record, Records

LOGGER = logging.getLogger("ctp_stroke.node")

Process = Callable[[Path, Path], Sequence[Path]]
"""Takes the folder of a study and a folder to write into; returns the DICOM files to send."""
Delivered = Callable[[Path, str], None]
"""Called for each result: its file, and why it was refused, or nothing if it arrived."""
Send = Callable[[Sequence[Path], Delivered], None]
"""Sends files; raises `UnreachableError` if the receiver is not there."""

MAX_STARTS = 20
"""A study that was interrupted so often probably ends the node itself, for instance by its memory."""


class UnreachableError(OSError):
    """The receiver of the results is not there, or takes nothing now."""


class StoppedError(Exception):
    """The node is being stopped: what was begun begins again at the next start."""


@dataclass(frozen=True)
class Rules:
    """When a study is complete, how often what failed is tried again, and how long what is done is kept."""

    quiet_s: float = 30.0
    """A study is complete when nothing came for so long."""
    instances: int = 1
    """A study with fewer instances fails; it is revived by more."""
    attempts: int = 3
    """Tries of processing, and of sending a result that the receiver refuses."""
    retry_s: float = 5.0
    """First pause after a failure; it doubles with each."""
    retry_max_s: float = 600.0
    keep_s: float = 24 * 3600.0
    """Studies that are done are removed after this time."""


class Worker:
    """Moves each study on by steps; one thread calls `step` again and again.

    Args:
        folder: the node's folder.
        inbox: the instances.
        records: the states.
        process: makes the results of a study.
        send: sends them.
        rules: see `Rules`.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        folder: Path,
        inbox: Inbox,
        records: Records,
        process: Process,
        send: Send,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inbox, self._records, self._process, self._send = inbox, records, process, send
        self._rules, self._clock = rules or Rules(), clock
        self._results, self._work_folder = folder / "results", folder / "work"
        self._pauses: dict[str, tuple[int, float]] = {}
        self.errors: list[tuple[float, str]] = []
        """The latest error with its time, in seconds since 1970; empty if there was none."""
        shutil.rmtree(self._work_folder, ignore_errors=True)
        for path in (self._results, self._work_folder):
            path.mkdir(parents=True, exist_ok=True)
        self._remove_orphans()

    def _remove_orphans(self) -> None:
        """Remove results that a kill left without a record."""
        for path in self._results.iterdir():
            study, _, number = path.name.partition("-")
            record = self._records[study]
            if str(record.round) != number or record.state in (WAITING, PROCESSING):
                shutil.rmtree(path, ignore_errors=True)

    def step(self) -> bool:
        """Do what is due for one study; returns whether anything was."""
        for study, action in self._due():
            try:
                action(study)
            except StoppedError:
                return False
            except Exception as error:  # the disk, most likely: nothing is lost, and the other studies go on
                self._note(f"study {study}: {_one_line(error)}")
                self._pause(study)
            return True
        return False

    def waiting(self) -> list[str]:
        """Studies that await a round."""
        return [study for study in self._inbox.studies() if self._awaits_round(study)]

    def retry_failed(self) -> None:
        """Begin failed studies again."""
        for record in self._records.all():
            if record.state == FAILED:
                state = SENDING if record.results else PROCESSING
                self._records.change(record, state=state, failures=0, starts=0)

    def _due(self) -> Iterator[tuple[str, Callable[[str], None]]]:
        if self._is_due(""):  # the pause of the receiver
            for record in self._records.all():
                if record.state == SENDING and self._is_due(record.study):
                    yield record.study, self._send_results
        for study in self.waiting():
            if self._is_due(study) and self._is_complete(study):
                yield study, self._process_study
        for record in self._records.all():
            old = record.state == DONE and time.time() - record.changed_s > self._rules.keep_s
            if old and self._inbox.digest(record.study) in ("", record.inputs):
                yield record.study, self._remove

    def _awaits_round(self, study: str) -> bool:
        record = self._records[study]
        if record.state == SENDING:
            return False  # the results of this round go first
        return record.state == PROCESSING or record.inputs != self._inbox.digest(study)

    def _is_complete(self, study: str) -> bool:
        unchanged = self._records[study].inputs == self._inbox.digest(study)
        return unchanged or self._inbox.quiet_s(study) >= self._rules.quiet_s

    def _process_study(self, study: str) -> None:
        work = self._work_folder / f"{study}-{uuid.uuid4().hex[:8]}"
        try:
            digest = self._inbox.snapshot(study, work / "study")
            record = self._begin_round(study, digest, len(list((work / "study").iterdir())))
            if record.state == PROCESSING:
                self._run(record, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _begin_round(self, study: str, digest: str, count: int) -> Record:
        record = self._records[study]
        if record.inputs != digest:
            record = Record(study, record.round + 1, digest)
        if count < self._rules.instances:
            return self._fail(record, f"{count} instances came, at least {self._rules.instances} were expected")
        if record.starts >= MAX_STARTS:
            return self._fail(record, f"the processing was interrupted {record.starts} times")
        LOGGER.info("study %s: complete, round %d, %d instances; processing", study, record.round, count)
        return self._records.change(record, state=PROCESSING, starts=record.starts + 1, results={})

    def _run(self, record: Record, work: Path) -> None:
        began = self._clock()
        out = work / "out"
        out.mkdir()
        try:
            files = list(self._process(work / "study", out))
            if not files:
                raise ValueError("the processing gave no DICOM results")
        except StoppedError:
            raise
        except Exception as error:
            self._failed_try(record, PROCESSING, _one_line(error))
            return
        names = self._keep(record, files)
        LOGGER.info("study %s: processed in %.1f s, %d results", record.study, self._clock() - began, len(names))
        results = dict.fromkeys(names, TO_SEND)
        self._records.change(record, state=SENDING, failures=0, reason="", results=results)
        self._pauses.pop(record.study, None)

    def _keep(self, record: Record, files: Sequence[Path]) -> list[str]:
        """Move results to where they await sending, all of them or none."""
        names = [f"{number:04d}_{path.name}" for number, path in enumerate(files)]
        target = self._folder_of(record)
        with temporary_path(self._results) as complete:
            complete.mkdir()
            for name, path in zip(names, files, strict=True):
                os.replace(path, complete / name)
                sync(complete / name)
            sync(complete)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(complete, target)
        sync(self._results)
        return names

    def _folder_of(self, record: Record) -> Path:
        return self._results / f"{record.study}-{record.round}"

    def _send_results(self, study: str) -> None:
        record = self._records[study]
        names = record.to_send()

        def delivered(path: Path, refusal: str) -> None:
            now = self._records[study]
            self._records.change(now, results={**now.results, path.name: refusal or SENT})
            LOGGER.info("study %s: %s %s", study, path.name, f"refused: {refusal}" if refusal else "sent")

        try:
            self._send([self._folder_of(record) / name for name in names], delivered)
        except UnreachableError as error:
            self._note(f"study {study}: not sent: {_one_line(error)}")
            self._pause("")
            return
        except OSError:  # the disk: nothing is lost, and it is tried again without limit
            raise
        except Exception as error:  # a result that cannot be read
            self._failed_try(self._records[study], SENDING, _one_line(error))
            return
        self._pauses.pop("", None)
        record = self._records[study]
        if not record.to_send():
            self._records.change(record, state=DONE, failures=0, reason="")
            LOGGER.info("study %s: done, %d results sent", study, len(record.results))
            return
        refused = record.to_send()
        text = f"{len(refused)} of {len(record.results)} results refused: {record.results[refused[0]]}"
        self._failed_try(record, SENDING, text)

    def _failed_try(self, record: Record, state: str, reason: str) -> None:
        failures = record.failures + 1
        if failures >= self._rules.attempts:
            self._fail(record, reason)
            return
        self._records.change(record, state=state, failures=failures, reason=reason)
        self._note(f"study {record.study}: try {failures} of {self._rules.attempts} failed: {reason}")
        self._pause(record.study)

    def _fail(self, record: Record, reason: str) -> Record:
        self._note(f"study {record.study}: failed: {reason}")
        return self._records.change(record, state=FAILED, reason=reason)

    def _remove(self, study: str) -> None:
        if self._inbox.remove(study, self._records[study].inputs):
            for path in self._results.glob(f"{study}-*"):
                shutil.rmtree(path, ignore_errors=True)
            self._records.forget(study)
            LOGGER.info("study %s: removed", study)

    def _note(self, error: str) -> None:
        self.errors = [(time.time(), error)]
        LOGGER.error("%s", error)

    def _pause(self, study: str) -> None:
        count = self._pauses.get(study, (0, 0.0))[0]
        pause_s = min(self._rules.retry_s * 2.0 ** min(count, 30), self._rules.retry_max_s)
        self._pauses[study] = (count + 1, self._clock() + pause_s)

    def _is_due(self, study: str) -> bool:
        return self._clock() >= self._pauses.get(study, (0, 0.0))[1]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return text or type(error).__name__
