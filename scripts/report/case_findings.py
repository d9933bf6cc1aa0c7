"""What the report of a case says, in words and numbers: the same for the page and for the PDF."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .case_results import CaseResults
from .plain_words import PLAIN, title_of

_NUMBER = r"(-?[\d.]+)"
_CRITERION = re.compile(rf"(core|mismatch|ratio) (?:{_NUMBER} to )?(<|>=) {_NUMBER}")
_VALUES = {"core": ("core_ml", "ml"), "mismatch": ("mismatch_ml", "ml"), "ratio": ("mismatch_ratio", "")}
_FLAGS = {"defuse3": "DEFUSE 3", "dawn_a": "DAWN A", "dawn_b": "DAWN B", "dawn_c": "DAWN C"}
_ANSWERS = {True: "met", False: "not met", None: "unknown"}
_WARNING = re.compile(r"(\w+): (.+)")
UNKNOWN = "unknown"
_OPTIONS = {
    "amp": "mixed precision",
    "mirror": "average with the mirror image",
    "min_lesion_ml": "smallest lesion [ml]",
    "dt_s": "time between frames [s]",
    "use_given_maps": "maps that the case brings",
    "case": "of the case",
    "method": "estimate",
    "smoothing_mm": "smoothing [mm]",
    "core_rcbf": "core below rCBF",
    "delay_s": "delay above Tmax [s]",
    "aif": "arterial input",
}


class Measure(NamedTuple):
    """A number that a stroke doctor asks for."""

    name: str
    value: str
    unit: str
    interval: str
    """Of 90 %; empty where there is none."""
    note: str


class Flag(NamedTuple):
    """A trial's criteria and whether the images meet them."""

    name: str
    answer: str
    """``met``, ``not met`` or ``unknown``."""
    criteria: str
    numbers: str
    """That were compared."""
    reason: str
    """Why it is not met or unknown."""


class Notice(NamedTuple):
    """What makes the numbers doubtful."""

    kind: str
    """``caution`` about the reading or ``warning`` of the quality control."""
    title: str
    text: str
    number: str


def lesion_measures(results: CaseResults) -> list[Measure]:
    """The volume of the segmented lesion."""
    row = results.record["row"]
    if not row["components"]:
        return [Measure("Lesion", _short(row["lesion_volume_ml"]), "ml", "", "no lesion was found")]
    parts = f"{_count(row['components'], 'part')} in {_count(row['lesion_slices'], 'slice')}"
    return [Measure("Lesion", _short(row["lesion_volume_ml"]), "ml", "", f"by the network; {parts}")]


def map_measures(summary: Mapping[str, Any]) -> list[Measure]:
    """Core, delay, mismatch and what else is read off the maps."""
    delay = delay_s(summary)
    core = (summary.get("settings") or {}).get("core_rcbf")
    core_note = f"rCBF < {core:.0%} and Tmax > {delay} s" if core else f"low CBF and Tmax > {delay} s"
    tmax = summary["tmax_ml"]
    further = ", ".join(f"> {limit} s {_short(tmax[limit])}" for limit in tmax if limit != delay)
    return [
        _measure(summary, "Core", "core_ml", "ml", core_note),
        Measure(f"Tmax > {delay} s", _short(tmax[delay]), "ml", _interval(summary["tmax_ml_interval"][delay]), further),
        _measure(summary, "Mismatch", "mismatch_ml", "ml", f"Tmax > {delay} s minus core"),
        _measure(summary, "Mismatch ratio", "mismatch_ratio", "", f"Tmax > {delay} s / core", 2),
        Measure("Side", summary["side"], "", "", "of the patient, with more delayed tissue"),
        _measure(summary, "HIR", "hypoperfusion_intensity_ratio", "", f"volume of Tmax > 10 s / Tmax > {delay} s", 2),
        _measure(summary, "CBV index", "cbv_index", "", "mean CBV of delayed / normal tissue", 2),
    ]


def delay_s(summary: Mapping[str, Any]) -> str:
    """The threshold of the hypoperfusion, as it stands in the summary."""
    return next(iter(summary["tmax_ml_interval"]))


def flags(summary: Mapping[str, Any]) -> list[Flag]:
    """The trials' flags, with the numbers they used."""
    return [_flag(name, flag) for name, flag in summary["flags"].items()]


def _flag(name: str, flag: Mapping[str, Any]) -> Flag:
    answer = _ANSWERS[flag["met"]]
    image, _, clinical = flag["criteria"].partition(";")
    used = {criterion[1]: flag.get(_VALUES[criterion[1]][0]) for criterion in _CRITERION.finditer(image)}
    numbers = ", ".join(_with_unit(key, value) for key, value in used.items())
    reason = flag["reason"] or ("" if flag["met"] else "; ".join(_failures(image, flag)))
    if flag["met"] and clinical:
        reason = f"if also {clinical.strip()}"
    return Flag(_FLAGS.get(name, title_of(name)), answer, _pretty(flag["criteria"]), numbers, _pretty(reason))


def _failures(criteria: str, flag: Mapping[str, Any]) -> list[str]:
    """Which of the criteria the numbers fail."""
    found = []
    for name, low, sign, limit in _CRITERION.findall(criteria):
        key, unit = _VALUES[name]
        value = _as_float(flag.get(key))
        bounds = [(low, ">=")] * bool(low) + [(limit, sign)]
        for bound, relation in bounds:
            if math.isnan(value):
                found.append(f"{name} is unknown")
            elif not (value < float(bound) if relation == "<" else value >= float(bound)):
                side = "not below" if relation == "<" else "below"
                shown = " ".join(f"{name} {_exact(value, float(bound))} {unit} is {side} {bound} {unit}".split())
                found.append(shown)
    return found


def notices(results: CaseResults) -> list[Notice]:
    """Cautions, then warnings, each once, in plain words."""
    summary = results.summary or {}
    found = [
        Notice("caution", title_of(item["name"]), _sentence(item["text"]), _numbers(item))
        for item in summary.get("cautions", [])
    ]
    warnings = {item["name"]: _numbers(item) for item in summary.get("warnings", [])}
    for text in filter(None, results.record["row"]["warnings"].split("; ")):
        match = _WARNING.fullmatch(text)
        warnings.setdefault(*(match.groups() if match else (text, "")))
    plain = (Notice("warning", title_of(name), PLAIN.get(name, ""), number) for name, number in warnings.items())
    return [*found, *plain]


def provenance(results: CaseResults) -> list[tuple[str, str]]:
    """What made the results: rows of a name and a value."""
    record, summary = results.record, results.summary or {}
    settings = dict(record.get("settings") or {})
    sizes = [math.hypot(*results.affine[:3, axis]) for axis in range(3)]
    rows = [
        ("Software", f"ctp-stroke {settings.pop('version', UNKNOWN)}"),
        ("Weights (SHA-256)", str(settings.pop("weights", UNKNOWN))),
        ("Series (SHA-256)", (record["series"] or {}).get("sha256", UNKNOWN)),
        ("Grid", " x ".join(map(str, results.shape)) + " voxels of " + " x ".join(f"{mm:.3g}" for mm in sizes) + " mm"),
        ("Frame times", _frame_times(summary.get("frame_times") or record.get("frame_times"), summary)),
        ("Segmentation", _options({k: v for k, v in settings.items() if v not in ({}, None)}) or "defaults"),
    ]
    if summary.get("settings"):
        rows.append(("Maps", _options(summary["settings"])))
    if summary:
        rows.append(("Curves", _curves(summary)))
        reference = [summary[key] for key in ("reference_cbf", "reference_cbv", "reference_ml")]
        flow, volume, tissue = (UNKNOWN if value is None else f"{value:.3g}" for value in reference)
        rows.append(("Normal tissue", f"CBF {flow} ml/100 g/min, CBV {volume} ml/100 g, in {tissue} ml"))
    return rows


def _frame_times(times: Mapping[str, Any] | None, summary: Mapping[str, Any]) -> str:
    if not times:
        return UNKNOWN
    seconds = times.get("times_s") or summary.get("times_s") or []
    spread = f"{len(seconds)} frames, 0 to {seconds[-1]:g} s, " if seconds else ""
    spacing = f"uneven, usually {times['dt_s']:g} s apart" if times.get("times_s") else f"{times['dt_s']:g} s apart"
    lost = summary.get("lost_frames")
    left_out = f"; {len(lost)} left out" if lost else ""
    return f"{spread}{spacing} (from the {times['source']}){left_out}"


def _curves(summary: Mapping[str, Any]) -> str:
    deviation = summary.get("aif_scale_sd")
    scale = f"{summary['aif_scale']:.2f}" + ("" if deviation is None else f" \u00b1 {deviation:.2f}")
    aif, vof = (_count(len(summary[key]), "voxel") for key in ("aif_voxels", "vof_voxels"))
    return f"AIF of {aif}, scaled by {scale}; VOF of {vof}; {summary['frames_before_contrast']} frames before contrast"


def _options(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{_OPTIONS.get(key, key.replace('_', ' '))} {_option(value)}" for key, value in settings.items())


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return f"({_options(value)})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _measure(summary: Mapping[str, Any], name: str, key: str, unit: str, note: str, decimals: int = 1) -> Measure:
    value = summary[key]
    shown = _short(value, decimals)
    return Measure(name, shown, unit * (value is not None), _interval(summary.get(f"{key}_interval"), decimals), note)


def _short(value: Any, decimals: int = 1) -> str:
    number = _as_float(value)
    if math.isnan(number):
        return UNKNOWN
    return "infinite" if math.isinf(number) else f"{number:.{decimals if number < 1000 else 0}f}"


def _interval(interval: Any, decimals: int = 1) -> str:
    return f"{_short(interval[0], decimals)} to {_short(interval[1], decimals)}" if interval else ""


def _as_float(value: Any) -> float:
    if value == "infinite":
        return math.inf
    return math.nan if value is None else float(value)


def _exact(value: float, bound: float) -> str:
    """A number with as many decimals as show on which side of a bound it lies."""
    if math.isinf(value) or value == bound:
        return _short(value)
    return next(
        text
        for decimals in range(1 + (bound < 10), 5)
        if float(text := f"{value:.{decimals}f}") != bound or decimals == 4
    )


def _with_unit(name: str, value: Any) -> str:
    return f"{name} {_short(value, 2 if name == 'ratio' else 1)} {_VALUES[name][1] * (value is not None)}".strip()


def _numbers(item: Mapping[str, Any]) -> str:
    value, limit = (f"{_as_float(item[key]):.3g}" for key in ("value", "limit"))
    return " ".join(f"{value} {item['unit']} (limit {limit})".split())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _pretty(text: str) -> str:
    return text.replace(">=", "\u2265")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
