"""The page, the table and the picture of the agreement of computed with given maps."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..io.atomic import atomic_path, write_json
from ..io.names import csv_cell
from ..metrics.agreement_summary import COLUMNS
from .scales import COLORS

FILES = ("agreement.csv", "agreement.json", "agreement.png", "agreement.md")
_TITLES = {"delay": "Tmax > 6 s", "core": "core"}
_MAPS = {"cbf": "CBF", "cbv": "CBV", "mtt": "MTT", "tmax": "Tmax"}

_PUBLISHED = {
    "r": {"cbf": "0.98", "cbv": "0.98", "tmax": "0.77"},
    "bias": {"delay": "-0.6 ml (-52 to 50)", "core": "1.2 ml (-7 to 10)"},
    "icc": {"delay": "0.87", "core": "0.97"},
    "dice": {"delay": "0.79, 0.88", "core": "0.72, 0.81"},
    "infarct": {"core": "0.29"},
}
_PUBLISHED_KAPPA = "0.74"
"""Of the README of OpenPerfusion 0.1.0, https://github.com/OpenPerfusion/OpenPerfusion, on held-out halves."""
_SOURCE = (
    "The last column is what [OpenPerfusion](https://github.com/OpenPerfusion/OpenPerfusion) 0.1.0 states of its own "
    "maps against those of RAPID on the 94 training scans of ISLES 2018. The data differ, unless these are the same "
    "scans, and so do the voxels compared, the filter of small clusters, and the cases in which both masks are empty. "
    "The column shows what agreement is usual, and ranks nothing."
)
_OF_VOLUMES = (
    "Bias is computed less given, with the 95 % limits of agreement (1.96 standard deviations of the differences). "
    "ICC(A,1) is of the two-way model, absolute agreement, single rating. It is undefined for fewer than two cases, or "
    "if all volumes are equal."
)
_OF_MASKS = (
    "Pearson's r is of the voxels of the tissue where the given maps have values. Cases in which both masks are empty "
    "have no Dice coefficient and are left out of its mean."
)


def write_agreement(
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    *,
    title: str,
    failures: Sequence[str] = (),
) -> Path:
    """Write `FILES` into a folder, each atomically, the page last.

    Args:
        out: the folder.
        rows: of the cases, see `scripts.metrics.agreement_summary.COLUMNS`.
        summary: see `scripts.metrics.agreement_summary.summarize_agreement`.
        title: what was compared.
        failures: a line for each case that is left out.

    Returns:
        The path of the page.
    """
    table, numbers, picture, page = (out / name for name in FILES)
    with atomic_path(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({name: _cell(row[name]) for name in COLUMNS} for row in rows)
    write_json(numbers, {"title": title, "failures": list(failures), **_plain(summary)})
    with atomic_path(picture) as temporary:
        _draw(temporary, rows, summary)
    with atomic_path(page) as temporary:
        temporary.write_text(agreement_page(summary, title, failures), encoding="utf-8")
    return page


def agreement_page(summary: Mapping[str, Any], title: str, failures: Sequence[str] = ()) -> str:
    """The page in Markdown; numbers that are undefined are shown as a dash."""
    left_out = f" Left out, as they failed: {len(failures)}." if failures else ""
    parts = (
        "# Agreement of computed with given maps",
        f"{title}: {summary['cases']} cases.{left_out}",
        "\n".join(f"- {line}" for line in failures),
        _main_table(summary),
        _SOURCE,
        "## Volumes",
        _volume_table(summary["volumes"]),
        _OF_VOLUMES,
        "![Bland-Altman and scatter plots of both volumes](agreement.png)",
        "## Voxels and masks",
        _r_table(summary["r"]),
        _dice_table(summary["dice"]),
        _OF_MASKS,
        "## DEFUSE 3",
        _decision_table(summary["defuse3"]),
        "Cohen's kappa is undefined if all cases have one and the same answer. Cases that one of the maps does not "
        f"decide are left out: {summary['defuse3']['undecided']}.",
        "## Threshold of Tmax by split halves",
        _split_half(summary["split_half"]),
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def _main_table(summary: Mapping[str, Any]) -> str:
    body: list[list[str]] = []
    for name, title in _TITLES.items():
        found, overlap = summary["volumes"][name], summary["dice"][f"{name}_dice"]
        bias = f"{_text(found['bias'], 1)} ml ({_text(found['lower'], 1)} to {_text(found['upper'], 1)})"
        both = f"{_text(overlap['mean'])}, {_text(overlap['median'])}"
        body += [
            [f"volume of {title}: ICC(A,1)", _text(found["icc_a1"]), str(found["n"]), _PUBLISHED["icc"][name]],
            [f"volume of {title}: bias (limits)", bias, str(found["n"]), _PUBLISHED["bias"][name]],
            [f"{title}: Dice, mean and median", both, str(overlap["n"]), _PUBLISHED["dice"][name]],
        ]
    decisions = summary["defuse3"]
    body.append(["DEFUSE 3: kappa", _text(decisions["kappa"]), str(decisions["n"]), _PUBLISHED_KAPPA])
    for key, title in _MAPS.items():
        r = summary["r"][key]
        body.append([f"voxel r of {title}, median", _text(r["median"]), str(r["n"]), _PUBLISHED["r"].get(key, "-")])
    for name, title in _TITLES.items():
        overlap = summary["dice"][f"{name}_infarct_dice"]
        if overlap["n"]:
            published = _PUBLISHED["infarct"].get(name, "-")
            body.append([f"{title} and infarct: mean Dice", _text(overlap["mean"]), str(overlap["n"]), published])
    return _table(["", "these cases", "n", "OpenPerfusion, 94 scans"], body)


def _volume_table(volumes: Mapping[str, Any]) -> str:
    body = [
        [
            title,
            str(volumes[name]["n"]),
            *(_text(volumes[name][key], 1) for key in ("mean_ml", "given_mean_ml", "bias", "lower", "upper")),
            _text(volumes[name]["icc_a1"]),
        ]
        for name, title in _TITLES.items()
    ]
    header = ["ml", "n", "mean, computed", "mean, given", "bias", "lower limit", "upper limit", "ICC(A,1)"]
    return _table(header, body)


def _r_table(r: Mapping[str, Any]) -> str:
    keys = ("median", "lower_quartile", "upper_quartile")
    body = [[title, str(r[key]["n"]), *(_text(r[key][name]) for name in keys)] for key, title in _MAPS.items()]
    return _table(["voxel r", "n", "median", "lower quartile", "upper quartile"], body)


def _dice_table(dice: Mapping[str, Any]) -> str:
    words = {
        "delay_dice": "Tmax > 6 s, computed and given",
        "core_dice": "core, computed and given",
        "core_infarct_dice": "computed core and infarct",
        "given_core_infarct_dice": "given core and infarct",
        "delay_infarct_dice": "computed Tmax > 6 s and infarct",
        "given_delay_infarct_dice": "given Tmax > 6 s and infarct",
    }
    body = [
        [text, str(dice[name]["n"]), _text(dice[name]["mean"]), _text(dice[name]["median"])]
        for name, text in words.items()
        if dice[name]["n"] or "infarct" not in name
    ]
    return _table(["Dice", "n", "mean", "median"], body)


def _decision_table(decisions: Mapping[str, Any]) -> str:
    body = [[str(decisions[key]) for key in ("both", "computed_only", "given_only", "neither")]]
    body[0].append(_text(decisions["kappa"]))
    return _table(["met by both", "computed only", "given only", "neither", "kappa"], body)


def _split_half(halves: Sequence[Mapping[str, Any]]) -> str:
    if not halves:
        return "Not chosen: it takes cases with a given Tmax > 6 s in both halves."
    body = [
        [
            f"{half['threshold_s']:g} s",
            str(half["chosen_on"]),
            str(half["tested_on"]),
            _text(half["dice"]),
            _text(half["dice_at_6s"]),
        ]
        for half in halves
    ]
    words = (
        "The threshold of the computed Tmax with the highest mean Dice with the given Tmax > 6 s, chosen on one half "
        "of the patients and tested on the other, in both directions. Only cases with a given Tmax > 6 s count."
    )
    return words + "\n\n" + _table(["threshold", "chosen on", "tested on", "Dice by it", "Dice at 6 s"], body)


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *body])


def _draw(path: Path, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    figure = Figure(figsize=(9, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    for (difference, scatter), (name, title) in zip(axes, _TITLES.items(), strict=True):
        pairs = np.array([[row[f"{name}_ml"], row[f"given_{name}_ml"]] for row in rows], dtype=float)
        computed, given = pairs[np.isfinite(pairs).all(axis=1)].T
        _bland_altman(difference, computed, given, summary["volumes"][name], COLORS[name])
        difference.set_title(f"{title}: Bland-Altman")
        most = max([1.0, *computed, *given]) * 1.05
        scatter.plot([0, most], [0, most], color="0.6", linewidth=1)
        scatter.scatter(given, computed, s=22, color=COLORS[name], edgecolors="black", linewidths=0.4)
        scatter.set(xlabel="given [ml]", ylabel="computed [ml]", xlim=(0, most), ylim=(0, most), aspect="equal")
        scatter.set_title(f"{title}: volumes, and the line of equality")
    figure.savefig(path, format="png", dpi=110)


def _bland_altman(axis: Axes, computed: np.ndarray, given: np.ndarray, limits: Mapping[str, Any], color: str) -> None:
    axis.scatter((computed + given) / 2, computed - given, s=22, color=color, edgecolors="black", linewidths=0.4)
    for key, style, words in (("bias", "-", "bias"), ("lower", "--", "limits of agreement"), ("upper", "--", None)):
        if math.isfinite(limits[key]):
            axis.axhline(limits[key], color="black", linewidth=1, linestyle=style, label=words)
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.set(xlabel="mean of computed and given [ml]", ylabel="computed less given [ml]")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)


def _text(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return round(value, 4) if isinstance(value, float) else csv_cell(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
