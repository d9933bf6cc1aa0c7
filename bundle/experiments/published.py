"""The numbers of the papers, from `paper.json`, and what their tables show."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PAPER = Path(__file__).with_name("paper.json")


class Metric(NamedTuple):
    """How a table shows a metric of `scripts.metrics`: title with unit, digits, and its scale, 100 for a percentage."""

    title: str
    digits: int
    scale: float = 1.0


class PublishedRow(NamedTuple):
    """A row of a paper's table.

    Attributes:
        title: of the row.
        values: mean and, where the paper gives it, standard deviation of metrics, as the paper shows them.
        parameters_m: millions of parameters.
        dice_by_size: mean Dice (%) of small, medium and large lesions.
    """

    title: str
    values: Mapping[str, tuple[float, ...]] = {}
    parameters_m: float | None = None
    dice_by_size: tuple[float, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of a paper, or one of our own, for which there are no published rows.

    Attributes:
        name: for example `table5`.
        title: in words.
        metrics: its columns.
        source: paper and table.
        input: what its rows have in common.
        proposed: name of the row that the others are tested against.
        rows: the published ones by name.
        ensemble: title and Dice (%) of an ensemble of folds.
    """

    name: str
    title: str
    metrics: Mapping[str, Metric]
    source: str = ""
    input: str = ""
    proposed: str = ""
    rows: Mapping[str, PublishedRow] = field(default_factory=dict)
    ensemble: Mapping[str, Any] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """The name as a title: Table 5, Song 2019."""
        return re.sub(r"(?<=[a-z])(?=[0-9])", " ", self.name).capitalize()

    def row(self, name: str) -> PublishedRow:
        """The published row of a name, or one that has the name for its title and no numbers."""
        return self.rows.get(name, PublishedRow(name))


def load_table(name: str) -> Table:
    """A table by its name; one that no paper has shows the segmentation metrics of all."""
    content = json.loads(PAPER.read_text(encoding="utf-8"))
    own = {"title": name, "metrics": content["tables"]["table5"]["metrics"], "rows": {}}
    table = content["tables"].get(name, own)
    table["metrics"] = {key: Metric(**content["metrics"][key]) for key in table["metrics"]}
    table["rows"] = {key: PublishedRow(**values) for key, values in table["rows"].items()}
    return Table(name, **table)
