"""The arterial and the venous curve of a case, and how they are drawn as lines in a box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .case_results import CaseResults


class Curve(NamedTuple):
    """Enhancement over time."""

    name: str
    """``aif``, ``vof`` or ``measured``; also its class in the page's style."""
    title: str
    values_hu: tuple[float, ...]


class Curves(NamedTuple):
    """The curves of a case at the same times."""

    times_s: tuple[float, ...]
    curves: tuple[Curve, ...]
    baseline_s: float
    """Time of the last frame before contrast."""

    def limits(self) -> tuple[float, float, float, float]:
        """Of the drawing: first and last time, least and largest enhancement, at ticks."""
        values = [value for curve in self.curves for value in curve.values_hu]
        ticks = self.ticks_hu()
        return self.times_s[0], self.times_s[-1], min(ticks[0], *values), max(ticks[-1], *values)

    def ticks_hu(self) -> list[float]:
        """Round values that cover the enhancement."""
        values = [value for curve in self.curves for value in curve.values_hu]
        return _ticks(min(0.0, *values), max(values))

    def ticks_s(self) -> list[float]:
        """Round times within the series."""
        return [
            tick for tick in _ticks(self.times_s[0], self.times_s[-1]) if self.times_s[0] <= tick <= self.times_s[-1]
        ]


def curves_of(results: CaseResults) -> Curves | None:
    """The curves that the summary has; None without one."""
    summary = results.summary
    if summary is None or not summary.get("times_s"):
        return None
    return _curves(summary)


def _curves(summary: Mapping[str, Any]) -> Curves:
    times_s, aif, vof = (tuple(map(float, summary[key])) for key in ("times_s", "aif_hu", "vof_hu"))
    scale = float(summary["aif_scale"])
    shown = [Curve("aif", "AIF, as used", aif), Curve("vof", "VOF", vof)]
    if scale != 1:
        measured = tuple(round(value / scale, 3) for value in aif)
        shown.append(Curve("measured", f"AIF, as measured (divided by {scale:.2f})", measured))
    last = max(int(summary["frames_before_contrast"]) - 1, 0)
    return Curves(times_s, tuple(shown), times_s[min(last, len(times_s) - 1)])


def points(
    times_s: Sequence[float],
    values_hu: Sequence[float],
    limits: tuple[float, float, float, float],
    box: tuple[float, float, float, float],
) -> list[tuple[float, float]]:
    """Where the points of a curve lie.

    Args:
        times_s: times.
        values_hu: enhancement.
        limits: of times and of enhancement, see `Curves.limits`.
        box: left and right end, and the places of the least and the largest enhancement.
    """
    x = np.interp(times_s, limits[:2], box[:2])
    y = np.interp(values_hu, limits[2:], box[2:])
    return [(round(float(a), 2), round(float(b), 2)) for a, b in zip(x, y, strict=True)]


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    span = max(high - low, 1e-6)
    power = 10.0 ** np.floor(np.log10(span / most))
    step = next(float(power * factor) for factor in (1, 2, 5, 10) if span / (power * factor) <= most)
    first, last = int(np.floor(low / step)), int(np.ceil(high / step))
    if low > first * step and -low < 0.1 * span:  # noise below 0 does not need a tick of its own
        first += 1
    return [index * step for index in range(first, last + 1)]
