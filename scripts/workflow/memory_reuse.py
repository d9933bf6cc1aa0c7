"""Reuse of the memory of a step's tensors in the next step."""

from __future__ import annotations

import ctypes
import logging
import platform

from ignite.engine import Engine, Events

logger = logging.getLogger(__name__)

# The parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEEP_BYTES = 2**31 - 1  # the most that mallopt's int takes


def keep_freed_memory() -> bool:
    """Let the C library keep what the process frees, in the place of giving it back to the system.

    On a CPU, PyTorch asks the C library for the memory of every tensor. glibc takes large blocks from the system and
    returns them at once, and the system clears each page anew: for tensors of tens of MB that costs more than the
    arithmetic on them. The process then holds on to the most that it ever used.

    Returns:
        Whether the C library has been told; False where it is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES))


class KeepFreedMemory:
    """Ignite handler that calls :func:`keep_freed_memory` when an engine starts.

    A handler rather than a part of the network or the inferer: a server with other models too should decide itself.
    """

    def attach(self, engine: Engine) -> None:
        """Register with the engine."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        logger.debug("freed memory is kept: %s", keep_freed_memory())
