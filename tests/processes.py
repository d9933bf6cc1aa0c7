"""Running a function in two processes of a gloo group, as torchrun would."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch

PROCESSES = 2


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run_in_two(function: Callable[..., None], *arguments: Any) -> None:
    """Call ``function(rank, *arguments)`` in two processes; it must be at the top level of a module."""
    torch.multiprocessing.spawn(_start, args=(free_port(), function, arguments), nprocs=PROCESSES)


def _start(rank: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(PROCESSES),
        OMP_NUM_THREADS="1",
    )
    torch.set_num_threads(1)
    function(rank, *arguments)
