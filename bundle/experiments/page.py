"""The page and the CSV file of a table: ours beside the paper's."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from scripts.metrics import by_stratum, summarize
from scripts.metrics.strata import ALL, ANY_LESION, LARGE, LESION_FREE, MEDIUM, SMALL

from ..report import SYNTHETIC, markdown_table
from .comparison import Ordering, against, orderings
from .outcome import Outcome
from .published import Metric, Table

SETTINGS = ("epochs", "features", "image_size", "batch_size", "learning_rate", "seed")
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Provenance:
    """What the numbers come from.

    Attributes:
        command: that makes the page.
        data: the data set, in words.
        synthetic: whether its cases are.
        folds: of the cross-validation; 0 without one.
    """

    command: str
    data: str
    synthetic: bool
    folds: int = 0


def page_of(table: Table, outcomes: Sequence[Outcome], provenance: Provenance, picture: PurePath) -> str:
    """The whole page in Markdown; at least one row is done.

    Args:
        table: what the paper has.
        outcomes: the rows in the order of the page.
        provenance: what the numbers come from.
        picture: path of the plot, relative to the page.
    """
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    parts = [
        f"# {table.heading}: {table.title}",
        _introduction(table, done, provenance),
        results_table(table, outcomes),
        _notes(table, done),
        f"![Dice of each row, and Dice and relative volume error by lesion size]({picture.as_posix()})",
    ]
    ranked = orderings(_published_dice(table), {outcome.name: outcome.lesions for outcome in done})
    if ranked:
        parts += ["## Which of the paper's orderings hold", orderings_line(ranked), orderings_table(table, ranked)]
    parts += ["## By lesion size", *size_tables(table, done)]
    if provenance.folds:
        parts += [f"## The {provenance.folds} folds and their ensemble", *folds_part(table, done)]
    parts += ["## How this was made", _how_made(done, provenance)]
    return "\n\n".join(parts) + "\n"


def _introduction(table: Table, done: Sequence[Outcome], provenance: Provenance) -> str:
    groups = by_stratum(done[0].cases)
    where = (
        f"{len(groups[ANY_LESION])} cases with a lesion, each by the network of the fold that did not see it"
        if provenance.folds
        else f"{len(groups[ANY_LESION])} test cases with a lesion"
    )
    free = f" Cases without one ({len(groups[LESION_FREE])}) are left out." if groups[LESION_FREE] else ""
    source = (
        f" {table.input[:1].upper()}{table.input[1:]}. The paper's numbers: {table.source}." if table.source else ""
    )
    return (
        f"Mean ± standard deviation over {where}, of {provenance.data}.{free}{source}"
        f"{SYNTHETIC if provenance.synthetic else ''}"
    )


def _notes(table: Table, done: Sequence[Outcome]) -> str:
    names = {outcome.name for outcome in done}
    test = (
        " p: paired Wilcoxon signed-rank test of the Dice of the row against that of "
        f"{table.row(table.proposed).title}, Holm-corrected over the rows."
        if table.proposed in names and len(names) > 1
        else ""
    )
    paper = "Below ours, in italics, is the paper's. " if table.rows else ""
    return f"{paper}Minutes are of training and evaluation together.{test}"


def results_table(table: Table, outcomes: Sequence[Outcome]) -> str:
    """One row for each outcome: each metric with the paper's below it, parameters, time and p."""
    p_values = against(table.proposed, {o.name: o.lesions for o in outcomes if o.state == "done"})
    body = []
    for outcome in outcomes:
        cells = _metric_cells(table.metrics, outcome)
        if outcome.state == "done":
            minutes, p = f"{outcome.seconds / 60:.1f}", p_values.get(outcome.name)
            cells += [
                _two_lines(f"{outcome.parameters / 1e6:.2f}", _number(outcome.published.parameters_m, 2)),
                minutes,
            ]
            cells.append(_p(p) if p is not None else "")
        else:
            cells += [_two_lines(outcome.state, _number(outcome.published.parameters_m, 2)), "", ""]
        body.append([outcome.published.title, *cells])
    header = ["", *(metric.title for metric in table.metrics.values()), "parameters (M)", "minutes", "p (Dice)"]
    return markdown_table(header, body)


def _metric_cells(metrics: Mapping[str, Metric], outcome: Outcome) -> list[str]:
    summary = summarize(outcome.lesions, metrics)[ALL]
    cells = []
    for name, metric in metrics.items():
        published = outcome.published.values.get(name, ())
        cells.append(_two_lines(_ours(summary[name], metric), _mean_sd(published, metric.digits)))
    return cells


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
            f"{pair.published:+.2f}",
            f"{100 * pair.ours:+.2f}",
            _p(pair.p),
            "yes" if pair.holds else "no",
        ]
        for pair in ranked
    ]
    return markdown_table(["by Dice", "the paper's difference (%)", "ours (%)", "p", "holds"], body)


def size_tables(table: Table, done: Sequence[Outcome]) -> list[str]:
    """Dice and relative volume error of each row by lesion size, as Fig. 10 of Wang 2020 has them."""
    groups = (SMALL, MEDIUM, LARGE)
    counts = by_stratum(done[0].cases)
    header = ["", *(f"{group}, n = {len(counts[group])}" for group in groups)]
    parts = []
    for name, metric in (("dice", Metric("Dice (%)", 1, 100)), ("relative_volume_error", Metric("RVE", 2))):
        body = []
        for outcome in done:
            summary = summarize(outcome.cases, [name])
            published = outcome.published.dice_by_size if name == "dice" else ()
            cells = []
            for index, group in enumerate(groups):
                cells.append(_two_lines(_ours(summary[group][name], metric), _mean_sd(published[index:][:1], 2)))
            body.append([outcome.published.title, *cells])
        parts += [f"{metric.title}:", markdown_table(header, body)]
    return parts


def folds_part(table: Table, done: Sequence[Outcome]) -> list[str]:
    """Mean Dice of the test cases with the network of each fold, and with all of them."""

    def dice(cases: Sequence[Mapping[str, Any]]) -> str:
        return _ours(summarize(by_stratum(cases)[ANY_LESION], ["dice"])[ALL]["dice"], Metric("", 1, 100))

    count = max(len(outcome.folds) for outcome in done)
    body = [
        [
            o.published.title,
            *(dice(fold) for fold in o.folds),
            dice([case for f in o.folds for case in f]),
            dice(o.ensemble),
        ]
        for o in done
    ]
    header = ["", *(f"fold {index + 1}" for index in range(count)), "all folds", "ensemble"]
    sentence = (
        "Dice (%) on the test section, which no fold trains on, with the network of each fold, and with the ensemble, "
        "which averages the lesion's probability over them."
    )
    if table.ensemble:
        sentence += f" The paper's {table.ensemble['title']}: {table.ensemble['dice']:.0f}."
    return [sentence, markdown_table(header, body)]


def _how_made(done: Sequence[Outcome], provenance: Provenance) -> str:
    lines = [f"- command: `{provenance.command}`"]
    lines.append(f"- commit: {_listed(commit for o in done for commit in o.commits)}")
    lines.append(f"- machine: {', '.join(sorted({machine for o in done for machine in o.machines}))}")
    lines.append(f"- data: {provenance.data}")
    for key in SETTINGS:
        lines.append(f"- {key}: {_by_value(done, key)}")
    lines.append(
        "- where one mask alone is empty, HD and ASSD are the diagonal of the image, and precision and recall are 0 "
        "(`scripts.metrics.EmptyMaskValues`)"
    )
    return "\n".join(lines)


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(set(names)))


def setting_of(outcome: Outcome, key: str) -> str:
    """A key of the config that the row was trained with; its epochs are those of each stage."""
    stages = len(outcome.settings.get("stages", ()))
    return f"{outcome.settings.get(key, '–')}" + (f" in each of {stages} stages" * (key == "epochs" and stages > 1))


def _by_value(done: Sequence[Outcome], key: str) -> str:
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
        row: dict[str, Any] = {"row": outcome.name, "title": outcome.published.title, "state": outcome.state}
        row["cases"] = len(outcome.lesions)
        summary = summarize(outcome.lesions, table.metrics)[ALL]
        for name, metric in table.metrics.items():
            published = [value / metric.scale for value in outcome.published.values.get(name, ())]
            row |= {f"{name}_mean": summary[name]["mean"], f"{name}_sd": summary[name]["sd"]}
            row |= {f"paper_{name}_{key}": value for key, value in zip(("mean", "sd"), published, strict=False)}
        row |= {"p_holm": p_values.get(outcome.name), "parameters_m": outcome.parameters / 1e6 or None}
        row |= {"paper_parameters_m": outcome.published.parameters_m, "minutes": outcome.seconds / 60 or None}
        row |= {key: setting_of(outcome, key) for key in SETTINGS if outcome.settings}
        rows.append(row)
    columns = ["row", "title", "state", "cases"]
    columns += [f"{p}{name}_{key}" for name in table.metrics for p in ("", "paper_") for key in ("mean", "sd")]
    columns += ["p_holm", "parameters_m", "paper_parameters_m", "minutes", *SETTINGS]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _published_dice(table: Table) -> dict[str, float]:
    return {name: row.values["dice"][0] for name, row in table.rows.items() if "dice" in row.values}


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _ours(summary: Mapping[str, float | int | None], metric: Metric) -> str:
    """Mean and standard deviation of a metric as :func:`scripts.metrics.summarize` gives them."""
    values = [value * metric.scale for value in (summary["mean"], summary["sd"]) if value is not None]
    return _mean_sd(values, metric.digits) or "–"


def _mean_sd(values: Sequence[float], digits: int) -> str:
    return " ± ".join(f"{value:.{digits}f}" for value in values)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _two_lines(ours: str, published: str) -> str:
    return f"{ours}<br>*{published}*" if published else ours


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
