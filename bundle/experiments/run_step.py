"""One step of a row, as the Snakefile runs it: ``python -m bundle.experiments.run_step FOLDER RUN/STEP``."""

import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from scripts.io import atomic_path, write_json

from ..provenance import commit, machine
from ..run import run_workflow
from .plan import CHECKPOINTS, DONE, MODEL, TRAIN, Step
from .tracking import tracking_settings

STARTED, LAST = "started.json", "checkpoint_last.pt"


def run_step(folder: Path, name: str, step: Step) -> None:
    """Train or evaluate; a training that was interrupted with the same code, config and data goes on.

    Args:
        folder: of the runs.
        name: `<run>/<step>`.
        step: see :class:`bundle.experiments.plan.Plan`.
    """
    out, training = folder / name, name.endswith(f"/{TRAIN}")
    if read_record(out / STARTED) != step["digests"]:
        shutil.rmtree(out, ignore_errors=True)
        write_json(out / STARTED, step["digests"])
    record = {"digests": step["digests"], "commit": commit(), "machine": machine()}
    record["resumed"] = training and (out / CHECKPOINTS / LAST).is_file()
    start_s = time.monotonic()
    overlays, overrides = [Path(path) for path in step["overlays"]], {**step["overrides"], "run_name": name}
    workflow = run_workflow(step["config"], overlays, tracking=tracking_settings(), **overrides)
    record["seconds"] = round(time.monotonic() - start_s, 1)
    if training:
        network = workflow.parser.get_parsed_content("network_def")
        record["parameters"] = sum(parameter.numel() for parameter in network.parameters())
        with atomic_path(out.parent / MODEL) as temporary:
            shutil.copyfile(out / CHECKPOINTS / Path(MODEL).name, temporary)
    write_json(out / DONE, record)


def read_record(path: Path) -> dict[str, Any]:
    """What a JSON file of a run holds; nothing where there is none, or a broken one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def take_gpu() -> FileLock | None:
    """Take a GPU of this machine that no other step uses, until the lock is released or the process ends.

    A cluster gives each of its jobs a GPU that it sees alone.
    """
    count = torch.cuda.device_count()
    devices = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))).split(",") if count else []
    for device in devices:
        with suppress(Timeout):
            lock = FileLock(Path(tempfile.gettempdir()) / f"ctp_stroke_gpu_{device}.lock", blocking=False)
            lock.acquire()
            os.environ["CUDA_VISIBLE_DEVICES"] = device
            return lock
    return None


if __name__ == "__main__":
    FOLDER, NAME = Path(sys.argv[1]), sys.argv[2]
    GPU = take_gpu()  # kept until the end
    run_step(FOLDER, NAME, json.loads((FOLDER / "plan.json").read_text(encoding="utf-8"))["steps"][NAME])
