"""The page about the accuracy of the maps, from the rows of the cases."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..report import markdown_table
from .cases import ARTERIAL_SHARE, DELAY_S, MAPS, MOTION_DEG, MOTION_MM, REGIONS

Rows = Sequence[Mapping[str, str]]

_TITLES = {"cbf": "CBF", "cbv": "CBV", "tmax": "Tmax"}
_WANTED_R = {"cbf": 0.85, "cbv": 0.90, "tmax": 0.80}
_WANTED_DICE = 0.75
_WANTED_ARRIVAL_S = 1.0
_GROUPS: dict[str, Callable[[Mapping[str, str]], bool]] = {
    "all": lambda row: True,
    "2 slices": lambda row: int(row["slices"]) == 2,
    "3 to 8 slices": lambda row: 3 <= int(row["slices"]) <= 8,
    "14 slices and more": lambda row: int(row["slices"]) >= 14,
    "with skull": lambda row: row["skull"] == "True",
    "skull-stripped": lambda row: row["skull"] == "False",
    "bolus below 200 HU": lambda row: float(row["bolus_hu"]) < 200,
    "bolus of 200 HU and more": lambda row: float(row["bolus_hu"]) >= 200,
    f"true Tmax > {DELAY_S:g} s in 1 to 10 ml": lambda row: 1 <= float(row["delayed_ml"]) < 10,
    "in 10 to 50 ml": lambda row: 10 <= float(row["delayed_ml"]) < 50,
    "in 50 ml and more": lambda row: float(row["delayed_ml"]) >= 50,
}


def perfusion_page(rows: Rows, command: str, commit: str, machine: str, picture: str, table: str) -> str:
    """Write the page.

    Args:
        rows: of the cases, as a table on disk holds them.
        command: that made them.
        commit: of the repository.
        machine: in words.
        picture: path of the picture, from the page.
        table: path of the table, from the page.
    """
    done = [row for row in rows if not row.get("error")]
    sections = [
        "# Accuracy of the computed maps",
        f"Maps that `scripts.perfusion` computes from the 4D series alone, beside the true ones of {len(rows)} phantom "
        "cases with noise of 3 HU: a patient, a scanner, an injection and a stroke of their own each. The data are "
        "synthetic: the numbers say how well the computation undoes noise, sampling and partial volume, not what it "
        "does on patients.",
        _failures(rows),
        f"![true and computed CBF, CBV and Tmax of one case, and their joint histograms]({picture})",
        "## Agreement with the truth",
        "Median (lower and upper quartile) over cases. Tissue is where the true flow is above 1 ml/100 g/min and large "
        f"vessels fill less than 5 % of a voxel; the brain has the fluid and the vessels, too. The Dice is that of "
        f"Tmax > {DELAY_S:g} s against the true Tmax by the same rule, in cases with at least 1 ml of it.",
        _agreement(done),
        "The computed value over the true one, medians over tissue: "
        + ", ".join(f"{_TITLES[name]} {_spread(_column(done, f'{name} ratio'))}" for name in MAPS)
        + ". The true Tmax is the delay of the tissue's blood. Many of these strokes delay it by 5 to 7 s, so that "
        "half a second decides what is above 6 s: the Dice is that of a border, and higher where more is delayed.",
        _delayed_volumes(done),
        "## By kind of case",
        _groups(done),
        "## Arterial input function",
        _arterial(rows, done),
        "## Motion",
        _motion(done),
        "## How this was made",
        f"- command: `{command}`\n- commit: `{commit}`\n- machine: {machine}\n- every case: [`{table}`]({table})",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _column(rows: Rows, name: str) -> NDArray[np.float64]:
    """The numbers of a column, without the cells that are empty."""
    return np.array([float(row[name]) for row in rows if row.get(name)])


def _spread(values: NDArray[np.float64], digits: int = 2) -> str:
    if not len(values):
        return "–"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _failures(rows: Rows) -> str:
    failed = [f"seed {row['seed']} ({row['error']})" for row in rows if row.get("error")]
    return f"No maps could be made of {len(failed)} cases: {'; '.join(failed)}." if failed else ""


def _agreement(rows: Rows) -> str:
    body = [
        [f"{_TITLES[name]}, correlation in {region}", _spread(values), f"{values.min():.2f}", f"{wanted:.2f}"]
        + [f"{(values >= wanted).mean():.0%}"]
        for region in REGIONS
        for name, wanted in _WANTED_R.items()
        if len(values := _column(rows, f"{name} r, {region}"))
    ]
    dice = _column(rows, "delay dice")
    if len(dice):
        title = f"Tmax > {DELAY_S:g} s, Dice ({len(dice)} cases)"
        reached = f"{(dice >= _WANTED_DICE).mean():.0%}"
        body.append([title, _spread(dice), f"{dice.min():.2f}", f"{_WANTED_DICE:.2f}", reached])
    return markdown_table(["", "median (quartiles)", "worst", "wanted", "cases that reach it"], body)


def _delayed_volumes(rows: Rows) -> str:
    true_ml, found_ml = _column(rows, "delayed_ml"), _column(rows, "found_delayed_ml")
    overlap_ml = sum(
        float(row["delay dice"]) * (float(row["delayed_ml"]) + float(row["found_delayed_ml"])) / 2
        for row in rows
        if row.get("delay dice")
    )
    error_ml = found_ml - true_ml
    return (
        f"The volume of Tmax > {DELAY_S:g} s errs by {np.mean(error_ml):+.1f} ml in the mean and by "
        f"{np.median(np.abs(error_ml)):.1f} ml in the median of absolute errors, of "
        f"{np.mean(true_ml):.1f} ml in the mean. The Dice of the voxels of all cases together is "
        f"{2 * overlap_ml / max(float((true_ml + found_ml).sum()), 1e-6):.2f}."
    )


def _groups(rows: Rows) -> str:
    columns = [f"{name} r, {REGIONS[0]}" for name in MAPS] + ["delay dice", "seconds"]
    body = []
    for title, belongs in _GROUPS.items():
        some = [row for row in rows if belongs(row)]
        if some:
            body.append([f"{title} ({len(some)})", *(_spread(_column(some, column)) for column in columns)])
    header = ["", *(f"{_TITLES[name]}, correlation in {REGIONS[0]}" for name in MAPS), f"Dice of Tmax > {DELAY_S:g} s"]
    return markdown_table([*header, "process time (s)"], body)


def _arterial(rows: Rows, done: Rows) -> str:
    share, error_s = _column(done, "arterial share"), _column(done, "arrival error s")
    on_arteries, in_time = int((share > 0.5).sum()), int((np.abs(error_s) <= _WANTED_ARRIVAL_S).sum())
    return (
        f"Found by itself. Most of the chosen voxels hold arterial blood (at least {ARTERIAL_SHARE:.0%} of the voxel) "
        f"in {on_arteries} of {len(rows)} cases (wanted: 95 %), all of them in {int((share == 1).sum())}. The curve "
        f"arrives within {_WANTED_ARRIVAL_S:g} s of that of a large artery in {in_time} of {len(rows)}; the error is "
        f"{_spread(error_s)} s, {error_s.min():.2f} to {error_s.max():.2f} s at the extremes. Its area over the true "
        f"one is {_spread(_column(done, 'aif area ratio'))}."
    )


def _motion(rows: Rows) -> str:
    before, after = _column(rows, "change moved"), _column(rows, "change corrected")
    if not len(before):
        return "Not measured."
    return (
        f"In {len(before)} cases five frames were shifted by {MOTION_MM:g} mm in random directions and turned by "
        f"{MOTION_DEG:g} degrees. This changes CBF in tissue by {_spread(before)} ml/100 g/min on average without "
        f"motion correction, and by {_spread(after)} with it, {_spread(after / before)} of the former (wanted: below "
        f"0.5, reached in {int((after < 0.5 * before).sum())} of {len(before)})."
    )
