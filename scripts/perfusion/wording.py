"""What a reading says, in lines for people: of the command, and of the picture."""

from __future__ import annotations

import math

from .core_and_mismatch import Reading
from .intervals import Interval
from .thresholds import ReadingThresholds

RESEARCH_ONLY = "RESEARCH ONLY - not for diagnosis"
_ANSWERS = {True: "met", False: "not met", None: "unknown"}


def volume_lines(reading: Reading, limits: ReadingThresholds) -> list[str]:
    """Side, core, hypoperfusion, mismatch and ratio, each with its interval of 90 % where there is one."""
    delay = f"{limits.hypoperfusion_s:g}"
    return [
        f"side {reading.side}",
        f"core {_number(reading.core_ml, reading.core_ml_interval, 'ml')}",
        f"Tmax > {delay} s {_number(reading.tmax_ml[delay], reading.tmax_ml_interval[delay], 'ml')}",
        f"mismatch {_number(reading.mismatch_ml, reading.mismatch_ml_interval, 'ml')}",
        f"ratio {_number(reading.mismatch_ratio, reading.mismatch_ratio_interval)}",
    ]


def flag_lines(reading: Reading) -> list[str]:
    """One line for each trial; where a flag is met in spite of a caution, the caution is pointed at."""
    answers = {name: _ANSWERS[flag["met"]] for name, flag in reading.flags.items()}
    groups = ", ".join(f"{name[-1].upper()} {answer}" for name, answer in answers.items() if name.startswith("dawn_"))
    doubtful = " (see caution)" if reading.cautions and True in (flag["met"] for flag in reading.flags.values()) else ""
    return [f"DEFUSE 3 {answers['defuse3']}{doubtful}", f"DAWN {groups}{doubtful}"]


def _number(value: float, interval: Interval | None, unit: str = "") -> str:
    if math.isnan(value):
        return "unknown"
    text = _short(value) + (f" ({_short(interval[0])}-{_short(interval[1])})" if interval else "")
    return f"{text} {unit}".strip()


def _short(value: float) -> str:
    if math.isinf(value):
        return "infinite"
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"
