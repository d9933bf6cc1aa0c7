"""Kills and full disks at exact points of writing, for tests of what is left afterwards.

A *point* lies before and after every call that changes a file system (``os.replace``, ``os.unlink``, ``os.fsync``, …)
and in the middle of every ``torch.save``, when half of the bytes are written. Points are numbered from 0 in the order
in which an action passes them. An action is a function without arguments; it runs in a fork of this process, so that
nothing needs to be pickled, imports cost nothing and the kill is a real SIGKILL: no ``finally``, no ``atexit``.

Example:
    every = points_of(action)            # ["os.mkdir before", "os.mkdir after", ...], on a clean folder
    for point in range(len(every)):
        fresh_folder()
        assert run_until(point, action) == -signal.SIGKILL
        check_what_is_left()
        assert run_until(None, action) == 0  # the next run mends it
        check_that_all_is_there()

With ``fault=full_disk`` the point raises ``OSError(ENOSPC)`` once, as a disk that is full for a moment; ``run_until``
then returns 1, because the action ends with an exception.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch

WATCHED = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "fsync")
"""Functions of ``os``; pathlib, shutil and tempfile call these."""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def kill(name: str) -> None:
    """End this process without any clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


def full_disk(name: str) -> None:
    """Fail as a write to a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


def run_until(point: int | None, action: Callable[[], Any], fault: Callable[[str], None] = kill) -> int:
    """Run an action in a fork until it passes a point, where the fault happens; None for no fault.

    Returns:
        0 if the action came to its end, 1 if it raised, and ``-signal.SIGKILL`` if it was killed.
    """
    return _in_fork(lambda: _with_faults(point, action, fault, lambda name: None))


def points_of(action: Callable[[], Any]) -> list[str]:
    """The names of the points that an action passes when nothing goes wrong; it runs once, in a fork."""
    with tempfile.NamedTemporaryFile("w+") as log:

        def note(name: str) -> None:
            log.write(f"{name}\n")
            log.flush()

        status = _in_fork(lambda: _with_faults(None, action, kill, note))
        assert status == 0, f"the action ended with {status} without any fault"
        return Path(log.name).read_text().splitlines()


def _in_fork(action: Callable[[], Any]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _with_faults(
    point: int | None, action: Callable[[], Any], fault: Callable[[str], None], note: Callable[[str], None]
) -> None:
    """Run an action with the watched functions replaced, for good: this process ends with it."""
    passed = 0

    def passing(name: str) -> None:
        nonlocal passed
        number, passed = passed, passed + 1
        note(name)
        if number == point:
            fault(name)

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            passing(f"{name} before")
            result = function(*args, **kwargs)
            passing(f"{name} after")
            return result

        return call

    save = torch.save

    def save_in_halves(states: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        whole = io.BytesIO()
        save(states, whole, *args, **kwargs)
        half, rest = whole.getvalue()[: len(whole.getvalue()) // 2], whole.getvalue()[len(whole.getvalue()) // 2 :]
        if isinstance(file, (str, os.PathLike)):
            Path(file).write_bytes(half)
            passing("torch.save half")
            Path(file).write_bytes(half + rest)
        else:
            file.write(half)
            file.flush()
            passing("torch.save half")
            file.write(rest)

    for name in WATCHED:
        setattr(os, name, watched(f"os.{name}", getattr(os, name)))
    torch.save = save_in_halves
    action()
