"""What is known of a row: its cases, and how they came about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.metrics import by_stratum
from scripts.metrics.strata import ANY_LESION

from ..case_rows import read_rows
from .plan import DONE, METRICS, TESTING, VALIDATION, Plan
from .published import PublishedRow
from .rows import Row
from .run_step import read_record

Cases = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """A row with its results.

    Attributes:
        name: of the row within its table.
        published: the paper's row, whose title it has.
        state: "done", "failed", "not run", or "other code" for one made by other code, config or data than today's.
        cases: what each case scored; of a cross-validation, every case by the network that did not see it.
        folds: what the test cases scored with the network of each fold.
        ensemble: what they scored with all of them.
        seconds: that the processes took, of all folds together.
        parameters: of the network.
        settings: the merged config of the training.
        machines: that the processes ran on.
    """

    name: str
    published: PublishedRow
    state: str
    cases: Cases = ()
    folds: Sequence[Cases] = ()
    ensemble: Cases = ()
    seconds: float = 0.0
    parameters: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    machines: frozenset[str] = frozenset()

    @property
    def lesions(self) -> list[Mapping[str, Any]]:
        """The cases with a lesion: Dice and distances of the others say only whether the mask is empty."""
        return by_stratum(self.cases)[ANY_LESION]


def outcome_of(row: Row, plan: Plan, published: PublishedRow, *, asked: bool = True) -> Outcome:
    """Gather what the runs of a row left.

    Args:
        row: of a table.
        plan: what it would be today.
        published: the paper's row.
        asked: whether it was to be run, so that it has failed where it is not done.
    """
    records = {name: read_record(plan.setting.folder / name / DONE) for name in plan.steps_of(row)}
    if any(record.get("digests") != plan.steps[name]["digests"] for name, record in records.items()):
        return Outcome(row.name, published, "failed" if asked else "other code" if all(records.values()) else "not run")

    def cases(run: str, section: str = TESTING) -> Cases:
        return read_rows(plan.setting.folder / run / section / METRICS)

    runs, crossed = plan.runs[row.key], bool(plan.setting.folds)
    return Outcome(
        name=row.name,
        published=published,
        state="done",
        cases=[case for run in runs for case in cases(run, VALIDATION if crossed else TESTING)],
        folds=[cases(run) for run in runs] if crossed else [],
        ensemble=cases(plan.ensembles[row.key]) if crossed else [],
        seconds=sum(record["seconds"] for record in records.values()),
        parameters=next(record["parameters"] for record in records.values() if "parameters" in record),
        settings=plan.contents[row.key][0],
        machines=frozenset(record["machine"] for record in records.values()),
    )
