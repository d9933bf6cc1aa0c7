"""The state of each study, as one small JSON file that is replaced atomically at every step."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...io.atomic import sync, write_json

LOGGER = logging.getLogger("ctp_stroke.node")

WAITING, PROCESSING, SENDING, DONE, FAILED = "waiting", "processing", "sending", "done", "failed"
TO_SEND, SENT = "to send", "sent"


@dataclass(frozen=True)
class Record:
    """The latest round of a study. A study without one, or with another digest of its instances, awaits a round."""

    study: str
    """Hash of the Study Instance UID."""
    round: int = 0
    """Counts from 1; instances that arrive after the processing began start another."""
    inputs: str = ""
    """Digest of the instances of this round."""
    state: str = WAITING
    """`processing` (a start that finds it begins again), `sending`, `done` or `failed`."""
    starts: int = 0
    """How often the processing of this round began: more than `failures` where the node was killed meanwhile."""
    failures: int = 0
    """Failed tries of the current state."""
    reason: str = ""
    """Why the last try failed."""
    results: Mapping[str, str] = field(default_factory=dict)
    """For each file of the round: `to send`, `sent`, or why the receiver refused it."""
    changed_s: float = 0.0
    """Seconds since 1970."""

    def to_send(self) -> list[str]:
        """Names of the results that did not arrive yet."""
        return [name for name, state in self.results.items() if state != SENT]


class Records:
    """All records of a node; only the thread that works on the studies changes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "records"
        self._folder.mkdir(parents=True, exist_ok=True)
        loaded = (self._load(path) for path in sorted(self._folder.glob("*.json")))
        self._records = {record.study: record for record in loaded if record is not None}

    @staticmethod
    def _load(path: Path) -> Record | None:
        try:
            return Record(**{**json.loads(path.read_text(encoding="utf-8")), "study": path.stem})
        except (ValueError, TypeError) as error:  # not of ours, which are whole: the study is processed again
            LOGGER.error("study %s: its record cannot be read (%s); it is processed again", path.stem, error)
            return None

    def __getitem__(self, study: str) -> Record:
        return self._records.get(study, Record(study))

    def all(self) -> list[Record]:
        """Every record."""
        return list(self._records.copy().values())

    def change(self, record: Record, **changes: Any) -> Record:
        """Store a changed record; it is on the disk when this returns."""
        changed = replace(record, **changes, changed_s=time.time())
        write_json(self._folder / f"{record.study}.json", asdict(changed))
        self._records[record.study] = changed
        return changed

    def forget(self, study: str) -> None:
        """Remove a record."""
        (self._folder / f"{study}.json").unlink(missing_ok=True)
        sync(self._folder)
        self._records.pop(study, None)
