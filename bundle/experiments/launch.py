"""Jobs as processes of `python -m monai.bundle run`, several at a time, each continued where it was interrupted."""

import os
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from tqdm import tqdm

from scripts.io import write_json

from ..steps import ROOT, commit, machine
from .plan import LAST, TRAIN, Job, Step
from .records import is_done, marker_of
from .tracking import SETTINGS

PYTHON = sys.executable
LOG_LINES = 15


class StepFailed(RuntimeError):
    """A process ended with an error; the message has the last lines of its log."""


class Launcher:
    """Runs the steps of jobs, each in a process of its own with its share of the threads.

    With GPUs, the jobs are dealt out to them.

    Args:
        jobs: number of processes at a time.
        out: folder with the settings of the tracking.
        tracking: config keys of MONAI's MLflow handlers, see :func:`bundle.experiments.tracking.prepare_tracking`.
        resume: continue what is there; else every job begins anew.
    """

    def __init__(self, jobs: int, out: Path, tracking: Mapping[str, Any], resume: bool = True) -> None:
        self.jobs = jobs
        self.out = out.absolute()
        self.tracking = tracking
        self.resume = resume
        self.processes: set[subprocess.Popen] = set()
        self.stopping = False
        self.slots: queue.Queue[int] = queue.Queue()
        for slot in range(jobs):
            self.slots.put(slot)

    def run(self, jobs: Iterable[Job], description: str) -> dict[Path, StepFailed]:
        """Run jobs; one that fails does not stop the others.

        Returns:
            The failures, by the folders of the jobs.
        """
        distinct = {job.folder: job for job in jobs}.values()
        failures: dict[Path, StepFailed] = {}
        with (
            tqdm(total=len(distinct), desc=description, unit="row") as bar,
            ThreadPoolExecutor(self.jobs) as pool,
        ):
            futures = {pool.submit(self.run_job, job, bar): job for job in distinct}
            try:
                for future in as_completed(futures):
                    try:
                        future.result()
                    except StepFailed as error:
                        failures[futures[future].folder] = error
                        bar.write(f"failed: {error}")
                    bar.update()
            except BaseException:  # an interruption: what is done stays, and what runs goes on from its last epoch
                self.stop()
                pool.shutdown(cancel_futures=True)
                raise
        return failures

    def run_job(self, job: Job, bar: tqdm) -> None:
        """Run the steps of a job that are not done.

        Raises:
            StepFailed: a process ended with an error.
        """
        if not self.resume:
            shutil.rmtree(job.folder, ignore_errors=True)
        slot = self.slots.get()
        try:
            for step in job.steps:
                if not is_done(job, step) and not self.stopping:
                    bar.set_postfix_str(f"{job.name}: {step.name}")
                    self._run_step(job, step, slot)
        finally:
            self.slots.put(slot)

    def stop(self) -> None:
        """End the processes."""
        self.stopping = True
        for process in tuple(self.processes):
            process.terminate()

    def _run_step(self, job: Job, step: Step, slot: int) -> None:
        settings = job.folder / f"{step.name}.json"
        run_name = f"{job.folder.name} {step.name}"
        write_json(settings, {**step.settings, **self.tracking, "experiment_name": job.table, "run_name": run_name})
        configs = [str(path) for path in (*step.configs, settings)]
        resumed = step.name == TRAIN and (job.folder / TRAIN / LAST).is_file()
        command = [PYTHON, "-m", "monai.bundle", "run", "--config_file", str(configs), "--tracking"]
        command.append(str(self.out / SETTINGS))
        start = time.monotonic()
        self._call(command, job.folder / f"{step.name}.log", slot)
        record: dict[str, Any] = {"digest": step.digest, "commit": commit(), "machine": machine()}
        record |= {"seconds": round(time.monotonic() - start, 1), "resumed": resumed}
        if step.name == TRAIN:
            record["parameters"] = count_parameters(step)
        write_json(marker_of(job, step), record)

    def _call(self, command: list[str], log: Path, slot: int) -> None:
        with log.open("a", encoding="utf-8") as stream:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment(slot), stdout=stream, stderr=subprocess.STDOUT
            )
            self.processes.add(process)
            status = process.wait()
            self.processes.discard(process)
        if status:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
            raise StepFailed(
                "\n".join([f"{log.parent.name}, {log.stem}: exit status {status}; {log} ends with", *lines])
            )

    def environment(self, slot: int) -> dict[str, str]:
        """The process's share of the machine: its GPU where there are any, and its part of the cores."""
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        if torch.cuda.device_count():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
            devices = visible.split(",")
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        return environment


def count_parameters(step: Step) -> int:
    """The number of parameters of the network that a step trains."""
    parser = ConfigParser(dict(step.content))
    network = parser.get_parsed_content("network_def")
    return sum(parameter.numel() for parameter in network.parameters())
