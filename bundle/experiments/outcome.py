"""What is known of a row: its cases, and how they came about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.metrics import by_stratum
from scripts.metrics.strata import ANY_LESION

from .plan import HELD_OUT, TEST, TRAIN, Job
from .published import PublishedRow
from .records import cases_of, record_of


@dataclass(frozen=True)
class Outcome:
    """A row with its results.

    Attributes:
        name: of the row within its table.
        published: the paper's row, whose title it has.
        state: "done", "failed" or "not run".
        cases: what each case scored; of a cross-validation, every case by the network that did not see it.
        folds: what the test cases scored with the network of each fold.
        ensemble: what they scored with all of them.
        seconds: that the processes took, of all folds together.
        parameters: of the network.
        settings: the merged config of the training.
        commits: of the repository when the processes ended.
        machines: that they ran on.
    """

    name: str
    published: PublishedRow
    state: str
    cases: Sequence[Mapping[str, Any]] = ()
    folds: Sequence[Sequence[Mapping[str, Any]]] = ()
    ensemble: Sequence[Mapping[str, Any]] = ()
    seconds: float = 0.0
    parameters: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    commits: frozenset[str] = field(default_factory=frozenset)
    machines: frozenset[str] = field(default_factory=frozenset)

    @property
    def lesions(self) -> list[Mapping[str, Any]]:
        """The cases with a lesion: Dice and distances of the others say only whether the mask is empty."""
        return by_stratum(self.cases)[ANY_LESION]


def outcome_of(
    name: str, published: PublishedRow, jobs: Sequence[Job], ensemble: Job | None = None, *, failed: bool = False
) -> Outcome:
    """Gather what the jobs of a row left.

    Args:
        name: of the row within its table.
        published: the paper's row.
        jobs: its only job, or that of each fold.
        ensemble: that of the folds' networks together.
        failed: whether one of its processes ended with an error.
    """
    scored = [cases_of(job, HELD_OUT if len(jobs) > 1 else TEST) for job in jobs]
    if any(cases is None for cases in scored):
        return Outcome(name, published, "failed" if failed else "not run")
    records = [record_of(job, step) for job in jobs for step in job.steps]
    return Outcome(
        name=name,
        published=published,
        state="done",
        cases=[case for cases in scored for case in cases or ()],
        folds=[cases_of(job, TEST) or [] for job in jobs] if len(jobs) > 1 else [],
        ensemble=(cases_of(ensemble, TEST) or []) if ensemble is not None else [],
        seconds=sum(record.get("seconds", 0.0) for record in records),
        parameters=next((record["parameters"] for record in records if "parameters" in record), 0),
        settings=jobs[0].step(TRAIN).content,
        commits=frozenset(record["commit"] for record in records if "commit" in record),
        machines=frozenset(record["machine"] for record in records if "machine" in record),
    )
