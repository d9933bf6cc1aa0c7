import numpy as np
import pytest

from scripts.metrics import CLINICAL_RULES, RCBF_30, TMAX_6S, ThresholdRule, best_rule, lesion_metrics, threshold_grid
from scripts.metrics.thresholds import drop_small_components

SPACING_MM = (1.0, 1.0, 10.0)


def case() -> dict[str, np.ndarray]:
    """A brain of 20 x 20 pixels in air; the left third is delayed, and a part of it has hardly any flow."""
    shape = (24, 24, 2)
    brain, delayed, core = (np.zeros(shape, bool) for _ in range(3))
    brain[2:22, 2:22], delayed[2:9, 2:22], core[3:8, 4:18] = True, True, True
    cbf = np.where(core, 8.0, np.where(delayed, 25.0, 50.0)) * brain
    cbf[5, 8:10] = 0.0  # no flow at all, inside the brain
    tmax = np.where(delayed, 9.0, 2.0) * brain
    return {"cbf": cbf, "tmax": tmax, "label": core, "brain": brain, "delayed": delayed}


def test_clinical_rules_find_what_they_are_meant_to() -> None:
    maps = case()
    np.testing.assert_array_equal(TMAX_6S.predict(maps, SPACING_MM), maps["delayed"])
    np.testing.assert_array_equal(RCBF_30.predict(maps, SPACING_MM), maps["label"])


def test_relative_rules_do_not_depend_on_the_scale_of_the_map() -> None:
    maps = case()
    maps["cbf"] = maps["cbf"] * 3.7
    np.testing.assert_array_equal(RCBF_30.predict(maps, SPACING_MM), maps["label"])


def test_air_is_never_lesion() -> None:
    maps = case()
    found = ThresholdRule("cbf", 20.0, above=False, min_component_ml=0).predict(maps, SPACING_MM)
    np.testing.assert_array_equal(found, maps["label"])


def test_without_normal_tissue_nothing_is_relative() -> None:
    maps = case()
    maps["tmax"] = maps["tmax"] + 10 * maps["brain"]
    assert not RCBF_30.predict(maps, SPACING_MM).any()


def test_small_components_are_dropped_by_volume() -> None:
    mask = np.zeros((12, 12, 3), bool)
    mask[:4, :4, 0] = True  # 16 voxels of 0.01 ml, and one touching them by a corner
    mask[4, 4, 1] = True
    mask[8:10, 8:11, 2] = True  # 6 voxels
    kept = drop_small_components(mask, 0.1, (1, 2, 5))
    assert kept.sum() == 17
    assert not kept[..., 2].any()
    np.testing.assert_array_equal(drop_small_components(mask, 0, (1, 2, 5)), mask)
    assert not drop_small_components(np.zeros_like(mask), 1, (1, 2, 5)).any()


def test_names() -> None:
    assert [str(rule) for rule in CLINICAL_RULES] == ["rCBF < 30 % within Tmax > 6 s", "Tmax > 6 s"]
    assert str(ThresholdRule("cbv", 2.0, above=False)) == "CBV < 2 ml/100 g"
    with pytest.raises(ValueError, match=r"key: expected one of \['cbf', 'cbv', 'mtt', 'tmax'\], got 'ttp'"):
        ThresholdRule("ttp", 1.0, above=True)


def test_best_rule_is_the_one_with_the_highest_mean_dice() -> None:
    first, second, third = case(), case(), case()
    second["label"] = second["delayed"]
    third["label"] = third["label"] & False  # without a lesion: left out
    cases = [maps | {"spacing_mm": SPACING_MM} for maps in (first, second, third)]
    rules = [ThresholdRule("cbf", f, above=False, relative=True) for f in (0.05, 0.3, 0.6)] + [TMAX_6S]
    assert best_rule(iter(cases[:1]), rules) == (rules[1], 1.0)
    _, dice = best_rule(cases, rules)
    expected = [
        np.mean([lesion_metrics(r.predict(c, SPACING_MM), c["label"], SPACING_MM)["dice"] for c in cases[:2]])
        for r in rules
    ]
    assert dice == pytest.approx(max(expected))


def test_empty_search() -> None:
    with pytest.raises(ValueError, match="expected a case with a lesion and a rule, got 0 and"):
        best_rule([])
    with pytest.raises(ValueError, match="expected a case with a lesion and a rule, got 1 and 0"):
        best_rule([case() | {"spacing_mm": SPACING_MM}], [])


def test_grid_holds_the_clinical_rules_once() -> None:
    grid = threshold_grid()
    assert len(set(grid)) == len(grid)
    assert set(CLINICAL_RULES) <= set(grid)


def test_a_component_of_just_the_volume_is_kept_and_a_single_smaller_one_dropped() -> None:
    mask = np.zeros((4, 4, 2), bool)
    mask[:2, :2, 0] = True  # 4 voxels of 250 mm3: 1 ml
    spacing_mm = (5.0, 5.0, 10.0)
    assert np.array_equal(drop_small_components(mask, 1.0, spacing_mm), mask)
    mask[0, 0, 0] = False
    assert not drop_small_components(mask, 1.0, spacing_mm).any()


def test_a_threshold_itself_is_outside() -> None:
    maps = {"tmax": np.array([[[5.0, 6.0, 6.5]]]), "cbf": np.array([[[50.0, 14.0, 14.0]]])}
    assert ThresholdRule("tmax", 6.0, above=True, min_component_ml=0).predict(maps, (1, 1, 1)).tolist() == [
        [[False, False, True]]
    ]
    below = ThresholdRule("cbf", 14.0, above=False, min_component_ml=0)
    assert not below.predict(maps, (1, 1, 1)).any()
    within = ThresholdRule("cbf", 15.0, above=False, within_tmax_s=6.0, min_component_ml=0)
    assert within.predict(maps, (1, 1, 1)).tolist() == [[[False, False, True]]]


def test_the_grid_has_the_stated_steps() -> None:
    grid = threshold_grid()
    of = {
        key: [rule.threshold for rule in grid if rule.key == key and rule.within_tmax_s is None]
        for key in ("tmax", "mtt", "cbf", "cbv")
    }
    assert of["tmax"] == [3 + 0.5 * step for step in range(27)]
    assert of["mtt"] == [float(step) for step in range(5, 21)]
    assert of["cbf"] == of["cbv"] == [round(0.05 * step, 2) for step in range(2, 19)]
    assert all(rule.above == (rule.key in ("tmax", "mtt")) for rule in grid)
