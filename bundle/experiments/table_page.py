"""The page, the picture and the CSV file of a table: ours beside the paper's."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

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
class Provenance:
    """What the numbers come from.

    Attributes:
        command: that makes the page.
        commit: of the code, which all rows of the page were made by.
        data: the data set, in words.
        synthetic: whether its cases are.
        folds: of the cross-validation; 0 without one.
    """

    command: str
    commit: str
    data: str
    synthetic: bool
    folds: int = 0


def write_table(table: Table, outcomes: Sequence[Outcome], provenance: Provenance, pages: Path) -> None:
    """Write `<table>.md`, `<table>.csv` and `images/<table>.png`; nothing where no row is done."""
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    if not done:
        return
    order = [*table.rows]
    outcomes = sorted(outcomes, key=lambda o: (order.index(o.name) if o.name in order else len(order), o.name))
    picture = pages / "images" / f"{table.name}.png"
    plot_table(table, [outcome for outcome in outcomes if outcome.state == "done"], picture)
    page = page_of(table, outcomes, provenance, picture.relative_to(pages))
    markdown.write_text(pages / f"{table.name}.md", page)
    markdown.write_text(pages / f"{table.name}.csv", csv_of(table, outcomes))
    print(f"{len(done)} of {len(outcomes)} rows -> {pages / table.name}.md")


def page_of(table: Table, outcomes: Sequence[Outcome], provenance: Provenance, picture: PurePath) -> str:
    """The whole page in Markdown; at least one row is done.

    Args:
        table: what the paper has.
        outcomes: the rows in the order of the page.
        provenance: what the numbers come from.
        picture: path of the plot, relative to the page.
    """
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    ranked = orderings(_published_dice(table), {outcome.name: outcome.lesions for outcome in done})
    parts = [
        _introduction(table, done, provenance),
        results_table(table, outcomes),
        _notes(table, done),
        f"![Dice of each row, and Dice and relative volume error by lesion size]({picture.as_posix()})",
    ]
    if ranked:
        parts += ["## Which of the paper's orderings hold", orderings_line(ranked), orderings_table(table, ranked)]
    parts += ["## By lesion size", *size_tables(table, done)]
    if provenance.folds:
        parts += [f"## The {provenance.folds} folds and their ensemble", *folds_part(table, done)]
    parts += ["## How this was made", _how_made(table, done, provenance)]
    return markdown.page(f"{table.heading}: {table.title}", *parts)


def _introduction(table: Table, done: Sequence[Outcome], provenance: Provenance) -> str:
    groups = by_stratum(done[0].cases)
    lesions, free = len(groups[ANY_LESION]), len(groups[LESION_FREE])
    cases = "cases with a lesion, each by the network of the fold that did not see it"
    return (
        f"Mean ± standard deviation over {lesions} {cases if provenance.folds else 'test cases with a lesion'}, of "
        f"{provenance.data}."
        + f" Cases without one ({free}) are left out." * bool(free)
        + f" {table.input[:1].upper()}{table.input[1:]}. The paper's numbers: {table.source}." * bool(table.source)
        + SYNTHETIC * provenance.synthetic
    )


def _notes(table: Table, done: Sequence[Outcome]) -> str:
    tested = table.proposed in {outcome.name for outcome in done} and len(done) > 1
    return (
        "Below ours, in italics, is the paper's. " * bool(table.rows)
        + "Minutes are of training and evaluation together."
        + tested
        * (
            " p: paired Wilcoxon signed-rank test of the Dice of the row against that of "
            f"{table.row(table.proposed).title}, Holm-corrected over the rows."
        )
    )


def results_table(table: Table, outcomes: Sequence[Outcome]) -> str:
    """One row for each outcome: each metric with the paper's below it, parameters, time and p."""
    p_values = against(table.proposed, {o.name: o.lesions for o in outcomes if o.state == "done"})
    body = []
    for outcome in outcomes:
        published, done = outcome.published, outcome.state == "done"
        summary = summarize(outcome.lesions, table.metrics)[ALL]
        cells = [
            _two_lines(_ours(summary[name], metric), _mean_sd(published.values.get(name, ()), metric.digits))
            for name, metric in table.metrics.items()
        ]
        size = f"{outcome.parameters / 1e6:.2f}" if done else outcome.state
        cells.append(_two_lines(size, f"{published.parameters_m:.2f}" if published.parameters_m else ""))
        cells.append(f"{outcome.seconds / 60:.1f}" if done else "")
        body.append([published.title, *cells, _p(p_values[outcome.name]) if outcome.name in p_values else ""])
    header = ["", *(metric.title for metric in table.metrics.values()), "parameters (M)", "minutes", "p (Dice)"]
    return markdown.table(header, body)


def orderings_line(ranked: Sequence[Ordering]) -> str:
    """How many of the paper's orderings hold, in a sentence."""
    significant = [pair for pair in ranked if pair.p < SIGNIFICANT]
    return (
        f"Of the {len(ranked)} pairs of rows that the paper ranks by mean Dice, {sum(p.holds for p in ranked)} have "
        f"the same order here. {len(significant)} of the pairs differ significantly here (p < {SIGNIFICANT}, Wilcoxon, "
        f"Holm-corrected over the pairs); of these, {sum(p.holds for p in significant)} have the paper's order."
    )


def orderings_table(table: Table, ranked: Sequence[Ordering]) -> str:
    """Every pair, the paper's better row first."""
    body = [
        [
            f"{table.row(pair.higher).title} > {table.row(pair.lower).title}",
            *(f"{pair.published:+.2f}", f"{100 * pair.ours:+.2f}", _p(pair.p), "yes" if pair.holds else "no"),
        ]
        for pair in ranked
    ]
    return markdown.table(["by Dice", "the paper's difference (%)", "ours (%)", "p", "holds"], body)


def size_tables(table: Table, done: Sequence[Outcome]) -> list[str]:
    """Dice and relative volume error of each row by lesion size, as Fig. 10 of Wang 2020 has them."""
    groups = (SMALL, MEDIUM, LARGE)
    counts = by_stratum(done[0].cases)
    parts = []
    for name, metric in (("dice", Metric("Dice (%)", 1, 100)), ("relative_volume_error", Metric("RVE", 2))):
        body = []
        for outcome in done:
            summary, row = summarize(outcome.cases, [name]), outcome.published
            papers = row.dice_by_size if name == "dice" else ()
            cells = [
                _two_lines(_ours(summary[group][name], metric), _mean_sd(papers[index:][:1], 2))
                for index, group in enumerate(groups)
            ]
            body.append([row.title, *cells])
        header = ["", *(f"{group}, n = {len(counts[group])}" for group in groups)]
        parts += [f"{metric.title}:", markdown.table(header, body)]
    return parts


def folds_part(table: Table, done: Sequence[Outcome]) -> list[str]:
    """Mean Dice of the test cases with the network of each fold, and with all of them."""

    def dice(cases: Cases) -> str:
        return _ours(summarize(by_stratum(cases)[ANY_LESION], ["dice"])[ALL]["dice"], Metric("", 1, 100))

    body = [
        [
            outcome.published.title,
            *map(dice, [*outcome.folds, [case for fold in outcome.folds for case in fold], outcome.ensemble]),
        ]
        for outcome in done
    ]
    header = ["", *(f"fold {index + 1}" for index in range(len(done[0].folds))), "all folds", "ensemble"]
    sentence = (
        "Dice (%) on the test section, which no fold trains on, with the network of each fold, and with the ensemble, "
        "which averages the lesion's probability over them."
    )
    if table.ensemble:
        sentence += f" The paper's {table.ensemble['title']}: {table.ensemble['dice']:.0f}."
    return [sentence, markdown.table(header, body)]


def _how_made(table: Table, done: Sequence[Outcome], provenance: Provenance) -> str:
    return markdown.bullets(
        [
            f"command: `{provenance.command}`",
            f"commit: `{provenance.commit}`; every row was made by its code, configs and data",
            f"machine: {', '.join(sorted({machine for outcome in done for machine in outcome.machines}))}",
            f"data: {provenance.data}",
            *(f"{key}: {_by_value(table, done, key)}" for key in SETTINGS),
            EMPTY_MASKS,
        ]
    )


def setting_of(outcome: Outcome, key: str) -> str:
    """A key of the config that the row was trained with; its epochs are those of each stage."""
    stages = len(outcome.settings.get("stages") or ())
    return f"{outcome.settings.get(key, '–')}" + f" in each of {stages} stages" * (key == "epochs" and stages > 1)


def _by_value(table: Table, done: Sequence[Outcome], key: str) -> str:
    """The value that all rows share, or each value with its rows."""
    rows: dict[str, list[str]] = {}
    for outcome in done:
        rows.setdefault(setting_of(outcome, key), []).append(outcome.published.title)
    if len(rows) == 1:
        return next(iter(rows))
    return "; ".join(f"{value} ({', '.join(titles)})" for value, titles in rows.items())


def csv_of(table: Table, outcomes: Sequence[Outcome]) -> str:
    """The table as CSV: metrics in the units of `scripts.metrics`, the paper's beside ours."""
    p_values = against(table.proposed, {o.name: o.lesions for o in outcomes if o.state == "done"})
    rows = []
    for outcome in outcomes:
        paper = outcome.published
        row: dict[str, Any] = {"row": outcome.name, "title": paper.title, "state": outcome.state}
        row["cases"] = len(outcome.lesions)
        summary = summarize(outcome.lesions, table.metrics)[ALL]
        for name, metric in table.metrics.items():
            theirs = [*(value / metric.scale for value in paper.values.get(name, ())), None, None]
            row |= {f"{name}_mean": summary[name]["mean"], f"{name}_sd": summary[name]["sd"]}
            row |= {f"paper_{name}_mean": theirs[0], f"paper_{name}_sd": theirs[1]}
        row |= {"p_holm": p_values.get(outcome.name), "parameters_m": outcome.parameters / 1e6 or None}
        row |= {"paper_parameters_m": paper.parameters_m, "minutes": outcome.seconds / 60 or None}
        rows.append(row | {key: setting_of(outcome, key) if outcome.settings else None for key in SETTINGS})
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return stream.getvalue()


def _published_dice(table: Table) -> dict[str, float]:
    return {name: row.values["dice"][0] for name, row in table.rows.items() if "dice" in row.values}


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
