"""The page about the accuracy of the maps, from the rows of the cases."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import markdown
from .cases import ARTERIAL_SHARE, DELAY_S, MAPS, REGIONS
from .movement import MOTION_DEG, MOTION_MM

Rows = Sequence[Mapping[str, str]]

_TITLES = {"cbf": "CBF", "cbv": "CBV", "tmax": "Tmax"}
_WANTED_R = {"cbf": 0.85, "cbv": 0.90, "tmax": 0.80}
_WANTED_DICE = 0.75
_WANTED_ARRIVAL_S = 1.0
_WANTED_CORE_ML = 6.0
_WANTED_CORE_DICE = 0.65
_WANTED_HIR = 0.15
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


def accuracy_page(rows: Rows, made_by: Sequence[str], picture: str) -> str:
    """Write the page.

    Args:
        rows: of the cases, as a table on disk holds them.
        made_by: command, commit, machine and table.
        picture: path of the picture, from the page.
    """
    done = [row for row in rows if not row.get("error")]
    return markdown.page(
        "Accuracy of the computed maps",
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
        + ". The true Tmax is the delay of the tissue's blood. Around a stroke it falls to normal gradually: half a "
        "second decides about the tissue at the border of what is above 6 s, and the Dice is higher where more is "
        "delayed.",
        _delayed_volumes(done),
        "## Core and hypoperfusion intensity ratio",
        _reading(done),
        "## By kind of case",
        _groups(done),
        "## Arterial input function",
        _arterial(rows, done),
        "## Motion",
        _motion(done),
        "## How this was made",
        markdown.bullets(made_by),
    )


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
    return markdown.table(["", "median (quartiles)", "worst", "wanted", "cases that reach it"], body)


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


def _reading(rows: Rows) -> str:
    """What a reading of the computed maps says, compared with the same reading of the true ones."""
    cores = _pairs(rows, "core_ml", "found_core_ml")
    if not len(cores):
        return "Not measured."
    core_ml, hir = np.abs(cores[:, 1] - cores[:, 0]), _pairs(rows, "hir", "found_hir")
    hir_error, dice = np.abs(hir[:, 1] - hir[:, 0]), _column(rows, "core dice")
    body = [
        _against("core, absolute error (ml)", core_ml, "≤", _WANTED_CORE_ML, 1),
        _against("core, Dice (true cores of 1 ml and more)", dice, "≥", _WANTED_CORE_DICE, 2),
        _against("hypoperfusion intensity ratio, absolute error", hir_error, "≤", _WANTED_HIR, 2),
    ]
    withheld = [
        f"{len(_column(rows, true)) - len(_pairs(rows, true, found))} {what}"
        for what, true, found in (("cores", "core_ml", "found_core_ml"), ("ratios", "hir", "found_hir"))
    ]
    parts = [
        "The true maps are read by the same rule as the computed ones: the core is the tissue with Tmax > "
        f"{DELAY_S:g} s and a flow below 30 % of the other side's normal tissue. The core errs by "
        f"{np.mean(cores[:, 1] - cores[:, 0]):+.1f} ml in the mean, of {np.mean(cores[:, 0]):.1f} ml. Where the true "
        f"maps have the number, the computed ones withhold {' and '.join(withheld)}.",
        markdown.table(["", "cases", "mean", "median (quartiles)", "wanted", "cases that reach it"], body),
    ]
    inside = {name: _column(rows, f"{name} within sd") for name in ("cbf", "tmax")}
    if any(len(values) for values in inside.values()):
        shares = ", ".join(f"{_TITLES[name]} {_spread(values)}" for name, values in inside.items())
        parts.append(
            f"Part of the tissue whose error is within the map's own standard deviation (ideal: 0.68): {shares}."
        )
    return "\n\n".join(parts)


def _against(title: str, values: NDArray[np.float64], sign: str, wanted: float, digits: int) -> list[str]:
    if not len(values):
        return [title, "0", "–", "–", f"{sign} {wanted:g}", "–"]
    reached = values <= wanted if sign == "≤" else values >= wanted
    mean = f"{values.mean():.{digits}f}"
    return [title, str(len(values)), mean, _spread(values, digits), f"{sign} {wanted:g}", f"{reached.mean():.0%}"]


def _pairs(rows: Rows, first: str, second: str) -> NDArray[np.float64]:
    """(N, 2) the numbers of two columns in the rows that have both."""
    return np.array([(float(row[first]), float(row[second])) for row in rows if row.get(first) and row.get(second)])


def _groups(rows: Rows) -> str:
    columns = [f"{name} r, {REGIONS[0]}" for name in MAPS] + ["delay dice", "seconds"]
    body = []
    for title, belongs in _GROUPS.items():
        some = [row for row in rows if belongs(row)]
        if some:
            body.append([f"{title} ({len(some)})", *(_spread(_column(some, column)) for column in columns)])
    header = ["", *(f"{_TITLES[name]}, correlation in {REGIONS[0]}" for name in MAPS), f"Dice of Tmax > {DELAY_S:g} s"]
    return markdown.table([*header, "process time (s)"], body)


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
