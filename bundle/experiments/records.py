"""What the steps of a job leave behind: a marker that says that a step is done, and the metrics of the cases."""

import json
from pathlib import Path
from typing import Any

from ..results import read_rows
from .plan import Job, Step

MARKER, METRICS_FILE = "done.json", "metrics.csv"


def marker_of(job: Job, step: Step) -> Path:
    """The file that a step leaves when it is done; it holds the digest of its settings."""
    return job.folder / step.name / MARKER


def record_of(job: Job, step: Step) -> dict[str, Any]:
    """What the marker holds; nothing where there is none, or one of other settings, or a broken one."""
    try:
        record = json.loads(marker_of(job, step).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) and record.get("digest") == step.digest else {}


def is_done(job: Job, step: Step) -> bool:
    """Whether a step is done with these settings."""
    return bool(record_of(job, step))


def cases_of(job: Job, name: str) -> list[dict[str, Any]] | None:
    """The metrics of each case of an evaluation, or None where it is not done."""
    return read_rows(job.folder / name / METRICS_FILE) if is_done(job, job.step(name)) else None
