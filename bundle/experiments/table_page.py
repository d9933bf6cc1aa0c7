"""The page, the picture and the CSV file of a table: ours beside the paper's."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.io import atomic_path
from scripts.metrics import by_stratum, summarize
from scripts.metrics.strata import ALL, ANY_LESION, LARGE, LESION_FREE, MEDIUM, SMALL

from .. import markdown
from ..plots import plot_table
from ..results_page import EMPTY_MASKS, SYNTHETIC
from .comparison import Ordering, against, orderings
from .outcome import Cases, Outcome
from .published import Metric, Table

SETTINGS = ("epochs", "features", "image_size", "batch_size", "learning_rate", "seed")
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class TablePage:
    """What a table's page is made of; at least one row is done.

    Attributes:
        table: what the paper has.
        outcomes: the rows in the order of the page.
        command: that makes the page.
        commit: of the code, which all rows of the page were made by.
        data: the data set, in words.
        synthetic: whether its cases are.
        folds: of the cross-validation; 0 without one.
    """

    table: Table
    outcomes: Sequence[Outcome]
    command: str
    commit: str
    data: str
    synthetic: bool
    folds: int = 0

    @cached_property
    def done(self) -> list[Outcome]:
        """The rows that have results."""
        return [outcome for outcome in self.outcomes if outcome.state == "done"]

    @cached_property
    def p_values(self) -> dict[str, float]:
        """Of each row against the one that the paper proposes."""
        return against(self.table.proposed, {outcome.name: outcome.lesions for outcome in self.done})

    def write(self, pages: Path) -> None:
        """Write `<table>.md`, `<table>.csv` and `images/<table>.png`."""
        path, picture = pages / f"{self.table.name}.md", f"images/{self.table.name}.png"
        plot_table(self.table, self.done, pages / picture)
        markdown.write_text(path, self.text(picture))
        records = [self.record(outcome) for outcome in self.outcomes]
        with atomic_path(path.with_suffix(".csv")) as temporary, temporary.open("w", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, records[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in records)
        print(f"{len(self.done)} of {len(self.outcomes)} rows -> {path}")

    def text(self, picture: str) -> str:
        """The whole page in Markdown, with a picture beside it."""
        return markdown.page(
            f"{self.table.heading}: {self.table.title}",
            self.introduction(),
            self.results(),
            self.notes(),
            f"![Dice of each row, and Dice and relative volume error by lesion size]({picture})",
            *self.orderings(),
            "## By lesion size",
            *self.by_size("dice", Metric("Dice (%)", 1, 100)),
            *self.by_size("relative_volume_error", Metric("RVE", 2)),
            *self.ensembles(),
            "## How this was made",
            self.how_made(),
        )

    def introduction(self) -> str:
        """What was measured on what."""
        groups, table = by_stratum(self.done[0].cases), self.table
        kind = "cases with a lesion, each by the network of the fold that did not see it"
        text = f"Mean ± standard deviation over {len(groups[ANY_LESION])} "
        text += f"{kind if self.folds else 'test cases with a lesion'}, of {self.data}."
        if groups[LESION_FREE]:
            text += f" Cases without one ({len(groups[LESION_FREE])}) are left out."
        if table.source:
            text += f" {table.input[:1].upper()}{table.input[1:]}. The paper's numbers: {table.source}."
        return text + SYNTHETIC * self.synthetic

    def results(self) -> str:
        """One row for each outcome: each metric with the paper's below it, parameters, time and p."""
        body = []
        for outcome in self.outcomes:
            paper, done = outcome.published, outcome.state == "done"
            summary = summarize(outcome.lesions, self.table.metrics)[ALL]
            cells = [
                _two_lines(_ours(summary[name], metric), _mean_sd(paper.values.get(name, ()), metric.digits))
                for name, metric in self.table.metrics.items()
            ]
            size = f"{outcome.parameters / 1e6:.2f}" if done else outcome.state
            cells.append(_two_lines(size, f"{paper.parameters_m:.2f}" if paper.parameters_m else ""))
            cells.append(f"{outcome.seconds / 60:.1f}" if done else "")
            cells.append(_p(self.p_values[outcome.name]) if outcome.name in self.p_values else "")
            body.append([paper.title, *cells])
        titles = [metric.title for metric in self.table.metrics.values()]
        return markdown.table(["", *titles, "parameters (M)", "minutes", "p (Dice)"], body)

    def notes(self) -> str:
        """What the cells of the table are."""
        text = "Below ours, in italics, is the paper's. " * bool(self.table.rows)
        text += "Minutes are of training and evaluation together."
        if self.p_values:
            text += " p: paired Wilcoxon signed-rank test of the Dice of the row against that of "
            text += f"{self.table.row(self.table.proposed).title}, Holm-corrected over the rows."
        return text

    def orderings(self) -> list[str]:
        """How many of the paper's orderings hold, and every pair, the paper's better row first."""
        published = {name: row.values["dice"][0] for name, row in self.table.rows.items() if "dice" in row.values}
        ranked = orderings(published, {outcome.name: outcome.lesions for outcome in self.done})
        if not ranked:
            return []
        significant = [pair for pair in ranked if pair.p < SIGNIFICANT]

        def cells(pair: Ordering) -> list[str]:
            titles = f"{self.table.row(pair.higher).title} > {self.table.row(pair.lower).title}"
            numbers = f"{pair.published:+.2f}", f"{100 * pair.ours:+.2f}", _p(pair.p)
            return [titles, *numbers, "yes" if pair.holds else "no"]

        return [
            "## Which of the paper's orderings hold",
            f"Of the {len(ranked)} pairs of rows that the paper ranks by mean Dice, {sum(p.holds for p in ranked)} "
            f"have the same order here. {len(significant)} of the pairs differ significantly here (p < {SIGNIFICANT}, "
            f"Wilcoxon, Holm-corrected over the pairs); of these, {sum(p.holds for p in significant)} have the paper's "
            "order.",
            markdown.table(
                ["by Dice", "the paper's difference (%)", "ours (%)", "p", "holds"], [cells(pair) for pair in ranked]
            ),
        ]

    def by_size(self, name: str, metric: Metric) -> list[str]:
        """A metric of each row by lesion size, as Fig. 10 of Wang 2020 has it."""
        groups, counts = (SMALL, MEDIUM, LARGE), by_stratum(self.done[0].cases)
        body = []
        for outcome in self.done:
            summary, row = summarize(outcome.cases, [name]), outcome.published
            papers = row.dice_by_size if name == "dice" else ()
            cells = [
                _two_lines(_ours(summary[group][name], metric), _mean_sd(papers[index:][:1], 2))
                for index, group in enumerate(groups)
            ]
            body.append([row.title, *cells])
        header = ["", *(f"{group}, n = {len(counts[group])}" for group in groups)]
        return [f"{metric.title}:", markdown.table(header, body)]

    def ensembles(self) -> list[str]:
        """Mean Dice of the test cases with the network of each fold, and with all of them."""
        if not self.folds:
            return []

        def dice(cases: Cases) -> str:
            return _ours(summarize(cases, ["dice"])[ANY_LESION]["dice"], Metric("", 1, 100))

        body = [
            [row.published.title, *map(dice, [*row.folds, [case for fold in row.folds for case in fold], row.ensemble])]
            for row in self.done
        ]
        text = "Dice (%) on the test section, which no fold trains on, with the network of each fold, and with the "
        text += "ensemble, which averages the lesion's probability over them."
        if paper := self.table.ensemble:
            text += f" The paper's {paper['title']}: {paper['dice']:.0f}."
        header = ["", *(f"fold {index + 1}" for index in range(self.folds)), "all folds", "ensemble"]
        return [f"## The {self.folds} folds and their ensemble", text, markdown.table(header, body)]

    def how_made(self) -> str:
        """Command, commit, machines, data and settings."""
        items = [
            f"command: `{self.command}`",
            f"commit: `{self.commit}`; every row was made by its code, configs and data",
            f"machine: {', '.join(sorted({machine for outcome in self.done for machine in outcome.machines}))}",
            f"data: {self.data}",
        ]
        for key in SETTINGS:
            titles: dict[str, list[str]] = {}
            for outcome in self.done:
                titles.setdefault(setting_of(outcome, key), []).append(outcome.published.title)
            shown = [value + f" ({', '.join(rows)})" * (len(titles) > 1) for value, rows in titles.items()]
            items.append(f"{key}: {'; '.join(shown)}")
        return markdown.bullets([*items, EMPTY_MASKS])

    def record(self, outcome: Outcome) -> dict[str, Any]:
        """The line of a row in the CSV: metrics in the units of `scripts.metrics`, the paper's beside ours."""
        paper, summary = outcome.published, summarize(outcome.lesions, self.table.metrics)[ALL]
        line = {"row": outcome.name, "title": paper.title, "state": outcome.state, "cases": len(outcome.lesions)}
        for name, metric in self.table.metrics.items():
            theirs = [*(value / metric.scale for value in paper.values.get(name, ())), None, None]
            line |= {f"{name}_mean": summary[name]["mean"], f"{name}_sd": summary[name]["sd"]}
            line |= {f"paper_{name}_mean": theirs[0], f"paper_{name}_sd": theirs[1]}
        line |= {"p_holm": self.p_values.get(outcome.name), "parameters_m": outcome.parameters / 1e6 or None}
        line |= {"paper_parameters_m": paper.parameters_m, "minutes": outcome.seconds / 60 or None}
        return line | {key: setting_of(outcome, key) if outcome.settings else None for key in SETTINGS}


def setting_of(outcome: Outcome, key: str) -> str:
    """A key of the config that the row was trained with; its epochs are those of each stage."""
    stages = len(outcome.settings.get("stages") or ())
    return f"{outcome.settings.get(key, '–')}" + f" in each of {stages} stages" * (key == "epochs" and stages > 1)


def _ours(summary: Mapping[str, float | int | None], metric: Metric) -> str:
    """Mean and standard deviation of a metric as :func:`scripts.metrics.summarize` gives them."""
    values = [value * metric.scale for value in (summary["mean"], summary["sd"]) if value is not None]
    return _mean_sd(values, metric.digits) or "–"


def _mean_sd(values: Sequence[float], digits: int) -> str:
    return " ± ".join(f"{value:.{digits}f}" for value in values)


def _two_lines(ours: str, published: str) -> str:
    return f"{ours}<br>*{published}*" if published else ours


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
