"""What makes a reading doubtful although the series is sound: each caution with the numbers that say so."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .thresholds import ReadingThresholds

_LESSER = "of the tissue of the less affected side"


@dataclass(frozen=True)
class Caution:
    """One finding, named as a quality warning is, with its explanation; ``withholds``: no flag can be given."""

    name: str
    value: float
    limit: float
    unit: str
    text: str
    withholds: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.text} ({self.value:.3g} {self.unit}, limit {self.limit:.3g})"


@dataclass(frozen=True)
class Pattern:
    """The numbers that the cautions look at."""

    normal_ml: float
    """Normal tissue that the reference is made of."""
    reference_cbf: float
    """ml/100 g/min; NaN without a reference."""
    delayed_share: float
    """Hypoperfused part of the affected side's tissue."""
    other_delayed_share: float
    """Hypoperfused part of the other side's tissue."""
    slow_share: float
    """Part of the affected side's tissue that is not normal in time."""
    relative_cbf: float
    """Median flow of the hypoperfused tissue of the affected side over the reference; NaN without either."""
    relative_cbv: float
    """The same of the mean volume."""
    core_ml: float = math.nan
    core_noise_ml: float = math.nan
    """What 90 % of the changes of the core by the noise of the maps stay below; NaN where unknown."""


def find_cautions(pattern: Pattern, limits: ReadingThresholds) -> list[Caution]:
    """List what makes the reading doubtful, what withholds the flags first.

    Names: ``no_reference``, ``implausible_delay``, ``implausible_reference``, ``bilateral_delay``, ``unclear_side``,
    ``carotid_pattern``, ``uncertain_core``.
    """
    share, lesser = pattern.delayed_share, pattern.other_delayed_share
    low, high = limits.reference_cbf
    found: list[Caution] = []
    if pattern.normal_ml < limits.normal_ml:
        text = "too little normal tissue to compare the flow with: no core, no mismatch, no flags"
        found.append(Caution("no_reference", pattern.normal_ml, limits.normal_ml, "ml of normal tissue", text, True))
    elif not low <= pattern.reference_cbf <= high:
        bound = low if pattern.reference_cbf < low else high
        text = "flow of normal tissue is not that of a brain: core and mismatch are doubtful"
        found.append(Caution("implausible_reference", pattern.reference_cbf, bound, "ml/100 g/min", text))
    if lesser > limits.implausible_share:
        text = "most tissue of both sides is delayed, as outside a brain or with a wrong arterial curve: no flags"
        found.append(Caution("implausible_delay", lesser, limits.implausible_share, _LESSER, text, True))
    elif lesser > limits.bilateral_share:
        text = f"both sides are delayed, the other by {share:.0%}: stenoses, low output or a late arterial curve"
        found.append(Caution("bilateral_delay", lesser, limits.bilateral_share, _LESSER, text))
    elif lesser > limits.unclear_share * share:
        text = "delay lies on both sides alike: which of them is affected is not certain"
        found.append(Caution("unclear_side", lesser / share, limits.unclear_share, "of the other's share", text))
    if (
        pattern.slow_share > limits.carotid_share
        and pattern.relative_cbf > limits.carotid_cbf
        and pattern.relative_cbv > limits.carotid_cbv
    ):
        text = (
            f"{pattern.slow_share:.0%} of one side is slow, but flows ({pattern.relative_cbf:.2f} of normal) and holds "
            f"blood ({pattern.relative_cbv:.2f}), as behind a carotid stenosis: a flag may be met without a stroke"
        )
        found.append(Caution("carotid_pattern", pattern.relative_cbf, limits.carotid_cbf, "of normal flow", text))
    if pattern.core_noise_ml >= pattern.core_ml >= limits.smallest_ml:
        text = "the noise of the maps alone could make this core"
        found.append(Caution("uncertain_core", pattern.core_noise_ml, pattern.core_ml, "ml by noise", text))
    return sorted(found, key=lambda caution: not caution.withholds)
