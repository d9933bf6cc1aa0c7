"""nnU-Net's programs, run in the environment that has them."""

import os
import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .convert import PREPROCESSED, RAW, RESULTS

TRAINING = "train"
TRAINER = "SameSlicesTrainer"
TRAINERS = Path(__file__).with_name("trainers")
FINGERPRINT = Path(__file__).with_name("fingerprint.py")
LOG_LINES = 15


class Cost(NamedTuple):
    """What a program took.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of all cores together.
    """

    seconds: float
    cpu_seconds: float


class Programs:
    """Runs nnU-Net's programs on one data set.

    Args:
        programs: folder that they are in.
        folder: of the data set, the weights and the logs.
        workers: processes that augment beside the training; with 0, and a seed, a training on a CPU can be repeated.

    Raises:
        FileNotFoundError: the programs are not there.
    """

    def __init__(self, programs: Path, folder: Path, workers: int = 0) -> None:
        if not (programs / "nnUNetv2_train").is_file():
            raise FileNotFoundError(f"nnunet '{programs}': expected nnU-Net's programs (make env-nnunet), got none")
        self.programs = programs.absolute()
        self.folder = folder.absolute()
        self.workers = workers

    def environment(self, step: str) -> dict[str, str]:
        """Where everything is, and how many processes: one each, since the training itself takes all cores."""
        return {
            **os.environ,
            "nnUNet_raw": str(self.folder / RAW),
            "nnUNet_preprocessed": str(self.folder / PREPROCESSED),
            "nnUNet_results": str(self.folder / RESULTS),
            "nnUNet_extTrainer": str(TRAINERS),
            # The planning takes this for a number of threads, which 0 is not.
            "nnUNet_n_proc_DA": str(self.workers if step == TRAINING else 1),
            "nnUNet_def_n_proc": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def run(self, step: str, program: str, *arguments: Any) -> Cost:
        """Run a program; its log is `<folder>/<step>.log`.

        Raises:
            ChildProcessError: it ended with an error; the message has the last lines of the log.
        """
        log = self.folder / f"{step}.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        before, start = _children_seconds(), time.monotonic()
        with log.open("a", encoding="utf-8") as stream:
            status = subprocess.run(
                [str(self.programs / program), *map(str, arguments)],
                env=self.environment(step),
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if status:
            raise ChildProcessError("\n".join([f"{program}: exit status {status}; {log} ends with", *_last_lines(log)]))
        return Cost(round(time.monotonic() - start, 1), round(_children_seconds() - before, 1))


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last_lines(log: Path) -> Sequence[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
