"""A node as the process of a command: its log on stderr, and its stop by a signal."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Mapping, Sequence

from ..web import client
from .processing import SegmentCommand
from .sender import Peer
from .service import Node, Settings
from .web_peer import Fetcher, WebPeer
from .worker import Process, Send


def target(send: str | None, url: str | None, calling: str) -> Send:
    """Where results go: by C-STORE to HOST:PORT:AE, or by STOW-RS to a URL.

    Raises:
        ValueError: neither is of its form.
    """
    if send is not None:
        return Peer.parse(send, calling)
    client(str(url))  # refuses a wrong address now, not with the first study
    return WebPeer(str(url))


def run_until_signal(
    settings: Settings,
    process: Process,
    send: Send,
    *,
    dicomweb: str | None = None,
    studies: Sequence[str] = (),
    poll_s: float | None = None,
    filters: Mapping[str, str] | None = None,
    once: bool = False,
    retry_failed: bool = False,
) -> int:
    """Run a node until SIGTERM or SIGINT; returns how many studies failed.

    Args:
        settings: how it runs.
        process: makes results; a `SegmentCommand` is ended by the signal.
        send: sends them.
        dicomweb: server to fetch studies from.
        studies: UIDs of the studies to fetch.
        poll_s: look so often for new ones.
        filters: of which studies; keywords and values of QIDO-RS.
        once: end when these are done.
        retry_failed: begin studies that failed before again.
    """
    log_to_stderr()
    node = Node(settings, process, send)
    if isinstance(process, SegmentCommand):
        process.stop = node.stop
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop.set())
    if dicomweb is None:
        return node.run(retry_failed=retry_failed)
    url = dicomweb
    return node.run(
        lambda inbox, note: Fetcher(url, inbox, settings.folder, studies, poll_s, filters, note),
        once=once,
        retry_failed=retry_failed,
    )


def log_to_stderr() -> None:
    """One line for each step; of the libraries, which may name patients, nothing."""
    logger = logging.getLogger("ctp_stroke.node")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    for name in ("pydicom", "pynetdicom", "dicomweb_client", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
