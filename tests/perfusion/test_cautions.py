"""Every caution: when it is found, and the number, limit and unit that it tells."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from scripts.perfusion.cautions import Pattern, find_cautions
from scripts.perfusion.core_and_mismatch import _plain
from scripts.perfusion.thresholds import ReadingThresholds

SOUND = Pattern(
    normal_ml=300.0,
    reference_cbf=45.0,
    delayed_share=0.3,
    other_delayed_share=0.01,
    slow_share=0.4,
    relative_cbf=0.4,
    relative_cbv=0.7,
    core_ml=20.0,
    core_noise_ml=5.0,
)
LIMITS = ReadingThresholds()
LESSER = "of the tissue of the less affected side"


@pytest.mark.parametrize(
    ("name", "changes", "value", "limit", "unit", "withholds"),
    [
        ("no_reference", {"normal_ml": 9.99, "reference_cbf": math.nan}, 9.99, 10.0, "ml of normal tissue", True),
        ("implausible_reference", {"reference_cbf": 14.9}, 14.9, 15.0, "ml/100 g/min", False),
        ("implausible_reference", {"reference_cbf": 90.1}, 90.1, 90.0, "ml/100 g/min", False),
        ("implausible_delay", {"delayed_share": 0.7, "other_delayed_share": 0.51}, 0.51, 0.5, LESSER, True),
        ("bilateral_delay", {"other_delayed_share": 0.11}, 0.11, 0.1, LESSER, False),
        ("unclear_side", {"delayed_share": 0.1, "other_delayed_share": 0.06}, 0.6, 0.5, "of the other's share", False),
        (
            "carotid_pattern",
            {"slow_share": 0.61, "relative_cbf": 0.81, "relative_cbv": 0.91},
            0.81,
            0.8,
            "of normal flow",
            False,
        ),
        ("uncertain_core", {"core_ml": 5.0, "core_noise_ml": 5.5}, 5.5, 5.0, "ml by noise", False),
    ],
)
def test_a_caution_tells_its_number_and_its_limit(name, changes, value, limit, unit, withholds):
    (found,) = find_cautions(replace(SOUND, **changes), LIMITS)
    assert (found.name, found.unit, found.withholds) == (name, unit, withholds)
    assert (found.value, found.limit) == (pytest.approx(value), pytest.approx(limit))
    assert str(found) == f"{name}: {found.text} ({value:.3g} {unit}, limit {limit:.3g})"
    assert found.text[0].islower() or found.text[0].isdigit()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normal_ml": 10.0},
        {"reference_cbf": 15.0},
        {"reference_cbf": 90.0},
        {"other_delayed_share": 0.1},
        {"delayed_share": 0.1, "other_delayed_share": 0.05},
        {"slow_share": 0.6, "relative_cbf": 0.81, "relative_cbv": 0.91},
        {"slow_share": 0.61, "relative_cbf": 0.8, "relative_cbv": 0.91},
        {"slow_share": 0.61, "relative_cbf": 0.81, "relative_cbv": 0.9},
        {"core_ml": 0.99, "core_noise_ml": 3.0},
        {"core_noise_ml": math.nan},
        {"core_ml": math.nan, "core_noise_ml": 3.0},
    ],
)
def test_at_its_limit_there_is_none(changes):
    assert find_cautions(replace(SOUND, **changes), LIMITS) == []


def test_what_withholds_the_flags_comes_first():
    pattern = replace(SOUND, reference_cbf=10.0, delayed_share=0.7, other_delayed_share=0.6)
    assert [found.name for found in find_cautions(pattern, LIMITS)] == ["implausible_delay", "implausible_reference"]


def test_numbers_as_json_has_them():
    assert _plain({"a": math.nan, "b": math.inf, "c": (1.23456789, 2), "d": "x"}) == {
        "a": None,
        "b": "infinite",
        "c": [1.2346, 2],
        "d": "x",
    }
