"""Running functions in two processes of a gloo group, as torchrun would, and Python's command lines.

Processes are forked from a server that has imported PyTorch and MONAI once, and nothing of the bundle: the import takes
longer than most of what is tested.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROCESSES = 2
ROOT = Path(__file__).resolve().parents[1]
NOT_SHARED = ("scripts", "bundle", "tests", "huggingface_hub", "monai.bundle")
"""Modules that a command line imports itself: ours, and those that read the environment when they are imported."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "monai.bundle", "monai.engines", "monai.networks.nets", "ignite.handlers"])


def run_python(
    arguments: Sequence[Any], cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m MODULE ARGUMENT…`` or ``python -c CODE ARGUMENT…`` in a folder; this repository is on no path.

    Args:
        arguments: those of Python.
        cwd: the folder.
        environment: variables besides those of this process; `PYTHONPATH` is that of these alone.

    Returns:
        The exit status, and what was written.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        given = (list(map(str, arguments)), str(cwd), dict(environment or {}), [str(path) for path in outputs])
        process = CONTEXT.Process(target=_run_python, args=given)
        process.start()
        process.join()
        texts = [path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "" for path in outputs]
    return subprocess.CompletedProcess(list(map(str, arguments)), process.exitcode or 0, *texts)


def _run_python(arguments: list[str], cwd: str, environment: dict[str, str], outputs: list[str]) -> None:
    for descriptor, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), descriptor)
    os.chdir(cwd)
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(environment)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [cwd, *paths, *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.startswith(NOT_SHARED)]:
        del sys.modules[name]
    kind, name, *rest = arguments
    if kind == "-m":
        sys.argv = [name, *rest]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *rest]
        exec(compile(name, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run_in_two(function: Callable[..., None], *arguments: Any) -> None:
    """Call ``function(rank, *arguments)`` in two processes; it must be at the top level of a module."""
    port = free_port()
    processes = [CONTEXT.Process(target=_start, args=(rank, port, function, arguments)) for rank in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES


def _start(rank: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import torch

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
