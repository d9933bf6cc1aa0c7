"""The processing of a study: `ctp-stroke segment` in a process of its own, which cannot harm the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from .worker import StoppedError

ENTRY = Path(__file__).resolve().parents[2] / "__main__.py"


class SegmentCommand:
    """Runs `ctp-stroke segment STUDY --out OUT --dicom --report` and collects `OUT/*/dicom/*.dcm`.

    Args:
        options: more words of its command line.
        timeout_s: a run that takes longer is ended and has failed.
        command: what runs `ctp-stroke`.
    """

    def __init__(
        self,
        options: Sequence[str] = (),
        timeout_s: float = 3600.0,
        command: Sequence[str] = (sys.executable, "-P", str(ENTRY)),
    ) -> None:
        self._options, self._timeout_s, self._command = list(options), timeout_s, list(command)
        self.stop = threading.Event()
        """When it is set, the run is ended (StoppedError)."""

    def __call__(self, study: Path, out: Path) -> list[Path]:
        """Process one study.

        Raises:
            RuntimeError: the command failed; the last line that it wrote.
            TimeoutError: it took too long.
            StoppedError: the node is being stopped.
        """
        words = ["segment", str(study.resolve()), "--out", str(out.resolve()), "--dicom", "--report", *self._options]
        log = out.parent / "stderr.txt"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [*self._command, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                self._wait(process)
            finally:
                _end(process)
        if process.returncode and self.stop.is_set():
            raise StoppedError  # whoever stopped the node ended the process, too
        if process.returncode:
            raise RuntimeError(f"exit status {process.returncode}: {_last_line(log)}")
        return sorted(out.glob("*/dicom/*.dcm"))

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                process.wait(0.2)
                return
            except subprocess.TimeoutExpired:
                if self.stop.is_set():
                    raise StoppedError from None
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the processing took longer than {self._timeout_s:g} s") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
