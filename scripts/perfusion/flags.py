"""Imaging criteria of the trials of late thrombectomy: whether the volumes meet them."""

from __future__ import annotations

import math
from typing import Any

_DAWN = (
    ("a", 0.0, 21.0, "core < 21 ml; age >= 80 years and NIHSS >= 10"),
    ("b", 0.0, 31.0, "core < 31 ml; age < 80 years and NIHSS >= 10"),
    ("c", 31.0, 51.0, "core 31 to < 51 ml; age < 80 years and NIHSS >= 20"),
)


def trial_flags(core_ml: float, hypoperfused_ml: float, lesion_ml: float, withheld: str | None) -> dict[str, Any]:
    """Criteria of DEFUSE 3 (Albers et al., NEJM 2018;378:708) and cores of DAWN (Nogueira et al., NEJM 2018;378:11).

    Both trials treat the occlusion of a carotid or middle cerebral artery, so no flag is met without hypoperfusion of
    at least `lesion_ml`. DAWN also asks for age and NIHSS, which images do not tell: each of its groups has a flag.

    Args:
        core_ml: NaN where unknown.
        hypoperfused_ml: volume of delayed tissue, of which the core is part; 0 without an affected side.
        lesion_ml: smallest hypoperfusion of a lesion.
        withheld: why no flag can be given; None if they can.

    Returns:
        Each flag's ``met`` (None where withheld), ``reason`` (None where the numbers alone decide), criteria, numbers.
    """
    mismatch_ml = hypoperfused_ml - core_ml
    reason = withheld
    if reason is None and hypoperfused_ml < lesion_ml:
        reason = f"no lesion: hypoperfusion {hypoperfused_ml:.1f} ml, below {lesion_ml:g} ml"

    def met(criterion: bool) -> bool | None:
        return None if withheld is not None else criterion and hypoperfused_ml >= lesion_ml

    common = {"reason": reason, "core_ml": core_ml}
    ratio = mismatch_ratio(core_ml, hypoperfused_ml)
    return {
        "defuse3": {
            "met": met(core_ml < 70 and mismatch_ml >= 15 and ratio >= 1.8),
            "criteria": "core < 70 ml, mismatch >= 15 ml, ratio >= 1.8",
            **common,
            "mismatch_ml": mismatch_ml,
            "mismatch_ratio": ratio if hypoperfused_ml >= lesion_ml else math.nan,
        },
        **{
            f"dawn_{group}": {"met": met(low <= core_ml < high), "criteria": criteria, **common}
            for group, low, high, criteria in _DAWN
        },
    }


def mismatch_ratio(core_ml: float, hypoperfused_ml: float) -> float:
    """Hypoperfusion over core: infinite without a core, NaN with neither or where the core is unknown."""
    if core_ml == 0:
        return math.inf if hypoperfused_ml > 0 else math.nan
    return hypoperfused_ml / core_ml
