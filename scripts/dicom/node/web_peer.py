"""DICOMweb as the other way: studies are fetched (QIDO-RS, WADO-RS), results stored (STOW-RS)."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path

import requests

from ...io.atomic import write_json
from .. import web
from .identity import study_key, uids_of
from .inbox import Inbox
from .worker import Delivered, UnreachableError

RETRY_S = (5.0, 15.0, 0.0)
"""Pauses after each try of a study that was asked for."""
LOGGER = logging.getLogger("ctp_stroke.node")


@dataclass(frozen=True)
class WebPeer:
    """Stores files by STOW-RS. A worker calls it."""

    url: str

    def __call__(self, files: Sequence[Path], delivered: Delivered) -> None:
        """Store files.

        Raises:
            UnreachableError: the server does not answer or takes nothing now.
        """
        try:
            web.store(self.url, files, delivered)
        except requests.RequestException as error:
            raise UnreachableError(f"the server does not answer ({type(error).__name__})") from error
        except OSError as error:
            raise UnreachableError(str(error)) from error


class Fetcher:
    """Fetches studies into the inbox, in a thread of its own.

    Args:
        url: the root of the server's services.
        inbox: where instances go.
        folder: the node's folder; `fetched.json` in it tells which studies were fetched, with how many CT instances.
        studies: UIDs of studies to fetch once.
        poll_s: also look so often for CT studies of today and yesterday that are new or have grown; None for never.
        filters: of which studies; keywords and values of QIDO-RS.
        note: is told each failure.
    """

    def __init__(
        self,
        url: str,
        inbox: Inbox,
        folder: Path,
        studies: Sequence[str] = (),
        poll_s: float | None = None,
        filters: Mapping[str, str] | None = None,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._url, self._inbox, self._poll_s, self._note = url, inbox, poll_s, note
        self._todo = list(studies)
        self._filters = {"ModalitiesInStudy": "CT", **(filters or {})}
        self._path = folder / "fetched.json"
        self._fetched: dict[str, int] = json.loads(self._path.read_text()) if self._path.is_file() else {}
        self._seen: dict[str, int] = {}
        self._missing: set[str] = set()
        self.failed: list[str] = []
        """Studies that could not be fetched, by their hash."""

    def run(self, stop: threading.Event) -> None:
        """Fetch until there is nothing left or `stop` is set."""
        for uid in self._todo:
            if not stop.is_set() and not self._fetch_patiently(uid, stop):
                self.failed.append(study_key(uid))
        while self._poll_s is not None and not stop.is_set():
            self._poll(stop)
            stop.wait(self._poll_s)

    def _fetch_patiently(self, uid: str, stop: threading.Event) -> bool:
        for pause_s in RETRY_S:
            if self._fetch(uid):
                return True
            if study_key(uid) in self._missing or stop.wait(pause_s):
                break
        return False

    def _poll(self, stop: threading.Event) -> None:
        days = f"{date.today() - timedelta(days=1):%Y%m%d}-{date.today():%Y%m%d}"
        try:
            found = web.find_studies(self._url, {"StudyDate": days, **self._filters})
        except (OSError, ValueError) as error:
            self._note(f"studies not found: {_without_uids(error)}")
            return
        for study in found:
            if not stop.is_set() and self._seen.get(study.uid) != study.instances:
                self._look_at(study)

    def _look_at(self, study: web.Study) -> None:
        """Fetch a study that is new or has more CT instances; its own results make it grow, too."""
        try:
            count = web.count_instances(self._url, study.uid)
        except (OSError, ValueError) as error:
            self._note(f"study {study_key(study.uid)}: not found: {_without_uids(error)}")
            return
        key = study_key(study.uid)
        if self._fetched.get(key, -1) >= count or self._fetch(study.uid, count) or key in self._missing:
            self._seen[study.uid] = study.instances

    def _fetch(self, uid: str, instances: int = 0) -> bool:
        key, count = study_key(uid), 0
        try:
            self._inbox.hold(key)
            for dataset in web.iter_study(self._url, uid, max_bytes=self._inbox.limits.study_bytes):
                file = BytesIO()
                dataset.save_as(file, enforce_file_format=True)
                count += self._inbox.store(uids_of(dataset), [file.getbuffer()])
        except FileNotFoundError as error:
            self._inbox.release(key)
            self._missing.add(key)
            self._note(f"study {key}: not fetched: {error}")
            return False
        except Exception as error:  # also what a damaged instance makes the parser raise
            self._note(f"study {key}: not fetched: {_without_uids(error)}")
            return False
        self._inbox.release(key)
        self._fetched[key] = instances
        write_json(self._path, self._fetched)
        LOGGER.info("study %s: fetched, %d new instances", key, count)
        return True


def _without_uids(error: Exception) -> str:
    """An error's text; that of a failed request holds the address with its UIDs, and is told by its kind."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered with status {error.response.status_code}"
    if isinstance(error, requests.RequestException):
        return f"the server does not answer ({type(error).__name__})"
    return " ".join(str(error).split())[:300]
