"""The page about the accuracy of the maps, from the rows of the cases."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import markdown
from .cases import ARTERIAL_SHARE, DELAY_S, MAPS, REGIONS
from .movement import MOTION_DEG, MOTION_MM

Rows = Sequence[Mapping[str, str]]
Values = NDArray[np.float64]

_TITLES = {"cbf": "CBF", "cbv": "CBV", "tmax": "Tmax"}
_DELAYED = f"Tmax > {DELAY_S:g} s"
_MOST_CORE_ML, _LEAST_CORE_DICE, _MOST_HIR = 6.0, 0.65, 0.15
_HEADER = ("", "cases", "mean", "median (quartiles)", "least", "most", "wanted", "cases that reach it")
_GROUPS: dict[str, Callable[[Mapping[str, str]], bool]] = {
    "all": lambda row: True,
    "2 slices": lambda row: int(row["slices"]) == 2,
    "3 to 8 slices": lambda row: 3 <= int(row["slices"]) <= 8,
    "14 slices and more": lambda row: int(row["slices"]) >= 14,
    "with skull": lambda row: row["skull"] == "True",
    "skull-stripped": lambda row: row["skull"] == "False",
    "bolus below 200 HU": lambda row: float(row["bolus_hu"]) < 200,
    "bolus of 200 HU and more": lambda row: float(row["bolus_hu"]) >= 200,
    f"true {_DELAYED} in 1 to 10 ml": lambda row: 1 <= float(row["delayed_ml"]) < 10,
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
    failed = [f"seed {row['seed']} ({row['error']})" for row in rows if row.get("error")]
    return markdown.page(
        "Accuracy of the computed maps",
        f"Maps that `scripts.perfusion` computes from the 4D series alone, compared with the true ones of {len(rows)} "
        "phantom cases with noise of 3 HU: a patient, a scanner, an injection and a stroke of their own each. The data "
        "are synthetic: the numbers say how well the computation undoes noise, sampling and partial volume, not what "
        "it does on patients.",
        f"No maps could be made of {len(failed)} cases: {'; '.join(failed)}." if failed else "",
        f"![true and computed CBF, CBV and Tmax of one case, and their joint histograms]({picture})",
        "## Agreement with the truth",
        "Tissue is where the true flow is above 1 ml/100 g/min and large vessels fill less than 5 % of a voxel; the "
        f"brain has the fluid and the vessels, too. The Dice is that of {_DELAYED} against the true Tmax by the same "
        "rule, in cases with at least 1 ml of it. The true Tmax is the delay of the tissue's blood; around a stroke it "
        "falls to normal gradually, so that half a second decides about the tissue at the border.",
        _agreement(done),
        f"The voxels with {_DELAYED} of all cases together have a Dice of {_pooled_dice(done, 'delay')}.",
        "## Core and hypoperfusion intensity ratio",
        f"The true maps are read by the same rule as the computed ones: the core is the tissue with {_DELAYED} and a "
        "flow below 30 % of the other side's normal tissue. Where the true maps have the number, the computed ones "
        f"withhold {_withheld(done, 'core_ml')} cores and {_withheld(done, 'hir')} ratios.",
        _limits(done),
        _reading(done),
        "## By kind of case",
        _groups(done),
        "## Arterial input function",
        f"Found by itself. A voxel holds arterial blood from {ARTERIAL_SHARE:.0%} of its volume on. Arrival and area "
        "are compared with those of a large artery.",
        _arterial(done),
        "## Motion",
        f"Five frames are shifted by {MOTION_MM:g} mm in random directions and turned by {MOTION_DEG:g} degrees. The "
        "change is that of CBF in tissue, ml/100 g/min.",
        _motion(done),
        "## How this was made",
        markdown.bullets(made_by),
    )


def _column(rows: Rows, name: str) -> Values:
    """The numbers of a column, without the cells that are empty."""
    return np.array([float(row[name]) for row in rows if row.get(name)])


def _difference(rows: Rows, true: str, found: str) -> Values:
    """The second column minus the first in the rows that have both."""
    return np.array([float(row[found]) - float(row[true]) for row in rows if row.get(true) and row.get(found)])


def _withheld(rows: Rows, name: str) -> int:
    return len(_column(rows, name)) - len(_difference(rows, name, f"found_{name}"))


def _spread(values: Values, digits: int = 2) -> str:
    if not len(values):
        return "–"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _measure(
    title: str, values: Values, digits: int = 2, *, least: float = -math.inf, most: float = math.inf
) -> list[str]:
    """The row of a measure, with the share of cases within the bounds that are wanted."""
    if not len(values):
        return [title, "0", *"–––––", "–"]
    bounds = [f"≥ {least:g}"] * math.isfinite(least) + [f"≤ {most:g}"] * math.isfinite(most)
    numbers = [f"{number:.{digits}f}" for number in (values.mean(), values.min(), values.max())]
    reached = f"{((values >= least) & (values <= most)).mean():.0%}" if bounds else ""
    return [title, str(len(values)), numbers[0], _spread(values, digits), *numbers[1:], ", ".join(bounds), reached]


def _agreement(rows: Rows) -> str:
    body = [
        _measure(f"{_TITLES[name]}, correlation in {region}", _column(rows, f"{name} r, {region}"), least=wanted)
        for region in REGIONS
        for name, wanted in (("cbf", 0.85), ("cbv", 0.90), ("tmax", 0.80))
    ]
    body += [_measure(f"{_TITLES[name]}, median over the true median", _column(rows, f"{name} ratio")) for name in MAPS]
    body.append(_measure(f"{_DELAYED}, Dice", _column(rows, "delay dice"), least=0.75))
    error_ml = _difference(rows, "delayed_ml", "found_delayed_ml")
    body.append(_measure(f"{_DELAYED}, error (ml)", error_ml, 1))
    body.append(_measure(f"{_DELAYED}, absolute error (ml)", np.abs(error_ml), 1))
    return markdown.table(_HEADER, body)


def _reading(rows: Rows) -> str:
    core_ml, hir = (_difference(rows, name, f"found_{name}") for name in ("core_ml", "hir"))
    body = [
        _measure("core, error (ml)", core_ml, 1),
        _measure("core, absolute error (ml)", np.abs(core_ml), 1, most=_MOST_CORE_ML),
        _measure("core, Dice (true cores of 1 ml and more)", _column(rows, "core dice"), least=_LEAST_CORE_DICE),
        _measure("hypoperfusion intensity ratio, absolute error", np.abs(hir), most=_MOST_HIR),
    ]
    body += [
        _measure(f"{_TITLES[name]}, tissue within its standard deviation (ideal: 0.68)", values)
        for name in ("cbf", "tmax")
        if len(values := _column(rows, f"{name} within sd"))
    ]
    return markdown.table(_HEADER, body)


def _limits(rows: Rows) -> str:
    """The means of core and ratio next to the limits that are wanted of them."""
    core_ml, hir = (np.abs(_difference(rows, name, f"found_{name}")) for name in ("core_ml", "hir"))
    numbers = (
        ("mean absolute error of the core (ml)", core_ml, 1, f"≤ {_MOST_CORE_ML:g}"),
        ("mean Dice of the core", _column(rows, "core dice"), 2, f"≥ {_LEAST_CORE_DICE:g}"),
        ("mean absolute error of the hypoperfusion intensity ratio", hir, 2, f"≤ {_MOST_HIR:g}"),
    )
    body = [
        [title, str(len(values)), f"{values.mean():.{digits}f}" if len(values) else "–", wanted]
        for title, values, digits, wanted in numbers
    ]
    body.append(["Dice of the cores of all cases together", "", _pooled_dice(rows, "core"), ""])
    return markdown.table(["", "cases", "found", "wanted"], body)


def _pooled_dice(rows: Rows, name: str) -> str:
    """Dice of the voxels of all cases that have one, from their volumes and their own Dice."""
    true, found = ("delayed_ml", "found_delayed_ml") if name == "delay" else ("core_ml", "found_core_ml")
    both = [
        (float(row[f"{name} dice"]), float(row[true]) + float(row[found])) for row in rows if row.get(f"{name} dice")
    ]
    total_ml = sum(volume_ml for _, volume_ml in both)
    return f"{sum(dice * volume_ml for dice, volume_ml in both) / total_ml:.2f}" if total_ml else "–"


def _groups(rows: Rows) -> str:
    columns = [f"{name} r, {REGIONS[0]}" for name in MAPS] + ["delay dice", "seconds"]
    groups = {title: [row for row in rows if belongs(row)] for title, belongs in _GROUPS.items()}
    body = [
        [f"{title} ({len(some)})", *(_spread(_column(some, column)) for column in columns)]
        for title, some in groups.items()
        if some
    ]
    header = ["", *(f"{_TITLES[name]}, correlation in {REGIONS[0]}" for name in MAPS), f"Dice of {_DELAYED}"]
    return markdown.table([*header, "process time (s)"], body)


def _arterial(rows: Rows) -> str:
    return markdown.table(
        _HEADER,
        [
            _measure("share of the chosen voxels that hold arterial blood", _column(rows, "arterial share"), least=0.5),
            _measure("arrival, absolute error (s)", np.abs(_column(rows, "arrival error s")), most=1),
            _measure("area over the true one", _column(rows, "aif area ratio")),
        ],
    )


def _motion(rows: Rows) -> str:
    before, after = _column(rows, "change moved"), _column(rows, "change corrected")
    body = [_measure("change without correction", before), _measure("change with correction", after)]
    return markdown.table(_HEADER, [*body, _measure("the one over the other", after / before, most=0.5)])
