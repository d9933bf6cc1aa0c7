"""The node as a whole: what it consists of, how it starts, and how it stops."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .health import HealthServer
from .inbox import Inbox, Limits
from .receiver import Access, Receiver
from .records import DONE, FAILED, PROCESSING, SENDING, WAITING, Records
from .worker import Process, Rules, Send, Worker

LOGGER = logging.getLogger("ctp_stroke.node")
GRACE_S = 20.0
"""How long associations may go on after the node was told to stop."""


@dataclass(frozen=True)
class Settings:
    """How a node runs."""

    folder: Path
    access: Access | None = field(default_factory=Access)
    """None: it does not listen."""
    limits: Limits = field(default_factory=Limits)
    rules: Rules = field(default_factory=Rules)
    health: tuple[str, int] | None = None
    """Address of the health page."""
    tick_s: float = 0.2


class Node:
    """Receives, processes and sends, until it is told to stop.

    Args:
        settings: how.
        process: makes the results of a study.
        send: sends them.
        stop: when it is set, the node stops; shared with `process`.

    Example:
        node = Node(Settings(Path("node")), SegmentCommand(), Peer("10.0.0.5", 104, "PACS"))
        node.run()
    """

    def __init__(
        self, settings: Settings, process: Process, send: Send, *, stop: threading.Event | None = None
    ) -> None:
        self.settings, self.stop = settings, stop or threading.Event()
        self._process, self._send = process, send
        self._began_s = time.time()
        self._errors: list[tuple[float, str]] = []
        self.receiver: Receiver | None = None
        self.health_server: HealthServer | None = None
        self.ready = threading.Event()
        """Set when the node listens."""

    def run(
        self,
        fetcher: Callable[[Inbox, Callable[[str], None]], Any] | None = None,
        *,
        once: bool = False,
        retry_failed: bool = False,
    ) -> int:
        """Run until `stop` is set.

        Args:
            fetcher: makes a `Fetcher` of the inbox and of what notes errors; none by default.
            once: also stop when the fetcher has finished and nothing is left to do.
            retry_failed: begin studies that failed before again.

        Returns:
            How many studies failed or, with `once`, could not be fetched.

        Raises:
            OSError: a port is taken, or another node uses the folder.
        """
        settings = self.settings
        with ExitStack() as stack:
            stack.enter_context(locked(settings.folder))
            self.inbox = Inbox(settings.folder, settings.limits)
            self.records = Records(settings.folder)
            self.worker = Worker(settings.folder, self.inbox, self.records, self._process, self._send, settings.rules)
            if retry_failed:
                self.worker.retry_failed()
            if settings.health is not None:
                self.health_server = HealthServer(settings.health, self.health)
                stack.callback(self.health_server.stop)
            if settings.access is not None:
                self.receiver = Receiver(self.inbox, settings.access, self._note)
                stack.callback(self.receiver.stop, GRACE_S)
                LOGGER.info("%s listens on %s:%d", settings.access.ae, settings.access.listen, self.receiver.port)
            fetching = fetcher(self.inbox, self._note) if fetcher else None
            if fetching is not None:
                thread = threading.Thread(target=fetching.run, args=(self.stop,), daemon=True)
                thread.start()
            self.ready.set()
            self._work(lambda: once and fetching is not None and not thread.is_alive() and self._is_idle())
            LOGGER.info("stopping")
        LOGGER.info("stopped; %s", self.queue())
        return self.queue()[FAILED] + (len(fetching.failed) if fetching is not None else 0)

    def _work(self, is_finished: Callable[[], bool]) -> None:
        while not self.stop.is_set() and not is_finished():
            if not self.worker.step():
                self.stop.wait(self.settings.tick_s)

    def _is_idle(self) -> bool:
        queue = self.queue()
        return not (queue[WAITING] or queue[PROCESSING] or queue[SENDING])

    def _note(self, error: str) -> None:
        self._errors = [(time.time(), error)]
        LOGGER.error("%s", error)

    def queue(self) -> dict[str, int]:
        """How many studies are in each state."""
        states = {record.study: record.state for record in self.records.all()}
        states |= {study: WAITING for study in self.worker.waiting() if states.get(study) != PROCESSING}
        counts = Counter(states.values())
        return {state: counts[state] for state in (WAITING, PROCESSING, SENDING, DONE, FAILED)}

    def health(self) -> dict[str, Any]:
        """The content of the health page; studies by their hash."""
        free = self.inbox.free_bytes()
        records = self.records.all()
        has_room = free > self.settings.limits.free_bytes
        return {
            "ok": has_room and not self.stop.is_set(),
            "up_s": round(time.time() - self._began_s),
            "queue": self.queue(),
            "received": dict(self.receiver.counts) if self.receiver else {},
            "free_bytes": free,
            "last_error": self.last_error(),
            "incomplete": self.inbox.held(),
            "studies": {
                record.study: {"state": record.state, "round": record.round, "reason": record.reason}
                for record in records
                if record.state != DONE
            },
        }

    def last_error(self) -> dict[str, Any] | None:
        """The latest error with its time, in seconds since 1970."""
        errors = [*self._errors, *self.worker.errors]
        if not errors:
            return None
        at_s, text = max(errors)
        return {"at_s": round(at_s), "text": text}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Use a node's folder alone; it is made, for its owner only, if it is not there.

    Raises:
        BlockingIOError: another process uses it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"'{folder}': another node uses this folder") from None
        yield
