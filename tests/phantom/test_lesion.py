from dataclasses import replace

import numpy as np
import pytest

from scripts.phantom.lesion import OCCLUSIONS, Stroke, StrokeEffect, _reference_points_mm

STROKES = sorted(set(OCCLUSIONS) - {"none"})


@pytest.fixture(scope="module")
def brain_mm():
    return _reference_points_mm()


def test_probabilities_sum_to_one():
    assert sum(probability for probability, _, _ in OCCLUSIONS.values()) == pytest.approx(1.0)


def test_without_a_stroke_nothing_changes(m1_patient, brain_mm):
    effect = Stroke(replace(m1_patient.stroke, kind="none")).effect(brain_mm)
    for value, expected in zip(effect, (1, 1, 0, 0, 0, 0), strict=True):
        assert (value == expected).all()


@pytest.mark.parametrize("kind", STROKES)
def test_every_kind_makes_a_lesion_on_its_side(m1_patient, brain_mm, kind):
    stroke = Stroke(replace(m1_patient.stroke, kind=kind, side="right", target_volume_ml=6.0))
    effect = stroke.effect(brain_mm)
    core = brain_mm[effect.diffusion_core > 0.5]
    assert len(core) > 10
    assert (core[:, 0] > -4).mean() > 0.98
    assert stroke.core_center_mm is not None
    assert stroke.core_center_mm[0] > 0
    for value in effect:
        assert np.isfinite(value).all()
        assert value.dtype == np.float32
    assert effect.flow.min() > 0
    assert effect.flow.max() <= 1 + 1e-5
    assert effect.delay_s.min() >= 0
    assert effect.delay_s.max() < 15


@pytest.mark.parametrize("target_ml", [5.0, 20.0, 80.0])
def test_core_has_about_the_volume_asked_for(m1_patient, brain_mm, target_ml):
    effect = Stroke(replace(m1_patient.stroke, target_volume_ml=target_ml)).effect(brain_mm)
    volume_ml = (effect.diffusion_core > 0.5).sum() * 4.0**3 / 1000
    assert volume_ml == pytest.approx(target_ml, rel=0.25)


def test_core_is_worse_than_penumbra_and_penumbra_than_normal(m1_patient, brain_mm):
    effect = Stroke(m1_patient.stroke).effect(brain_mm)
    core = effect.perfusion_core > 0.9
    penumbra = (effect.starved > 0.9) & (effect.perfusion_core < 0.1)
    normal = effect.starved < 0.01
    flow = [effect.flow[region].mean() for region in (core, penumbra, normal)]
    assert flow[0] < 0.35 < flow[1] < 0.9 < flow[2]
    assert effect.volume[core].mean() < 0.7 < effect.volume[penumbra].mean()
    assert effect.delay_s[normal].max() < 0.2 < 2.0 < effect.delay_s[penumbra].mean() < effect.delay_s[core].mean()


def test_reperfusion_restores_flow_but_not_the_core(m1_patient, brain_mm):
    before = Stroke(m1_patient.stroke).effect(brain_mm)
    after = Stroke(replace(m1_patient.stroke, reperfused_fraction=0.8)).effect(brain_mm)
    np.testing.assert_array_equal(after.diffusion_core, before.diffusion_core)
    assert (after.flow >= before.flow - 1e-6).all()
    assert after.flow.mean() > before.flow.mean()
    assert after.delay_s.mean() < before.delay_s.mean()


def test_effect_is_a_function_of_the_position(m1_patient, brain_mm):
    stroke = Stroke(m1_patient.stroke)
    part = brain_mm[::7]
    for whole, some in zip(stroke.effect(brain_mm), stroke.effect(part), strict=True):
        np.testing.assert_allclose(whole[::7], some, atol=1e-6)


def test_absent_effect_owns_its_arrays():
    effect = StrokeEffect.absent(3)
    effect.flow[0] = 5
    effect.delay_s[0] = 5
    assert effect.volume[0] == 1
    assert effect.starved[0] == 0


def test_a_stroke_outside_the_reference_grid_centers_on_its_focus(m1_patient, monkeypatch):
    far = np.full((3, 3), 500.0, dtype=np.float32)
    monkeypatch.setattr("scripts.phantom.lesion._reference_points_mm", lambda: far)
    stroke = Stroke(replace(m1_patient.stroke, kind="distal"))
    assert stroke.core_center_mm is not None
    assert stroke.core_center_mm[0] < 0
