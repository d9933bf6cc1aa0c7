from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from scripts.phantom.anatomy import Deformation, build_anatomy, load_template
from scripts.phantom.geometry import Grid
from scripts.phantom.parameters import PoseParameters

POSE = PoseParameters((4.0, -2.0, 3.0), (3.0, -5.0, 20.0))


@pytest.fixture(scope="module")
def deformation(m1_patient):
    return Deformation(m1_patient.subject, POSE)


@pytest.fixture(scope="module")
def whole_head(m1_patient, deformation):
    grid = Grid.axial((52, 60, 24), (4.0, 4.0, 7.0), (3.0, -23.0, 35.0))
    return grid, build_anatomy(grid, deformation, m1_patient.subject)


def test_template_is_loaded_once_and_offline(monkeypatch):
    template = load_template()
    monkeypatch.setattr("socket.socket", None)
    assert load_template() is template
    load_template.cache_clear()
    again = load_template()
    np.testing.assert_array_equal(again.maps.numpy(), template.maps.numpy())


def test_fractions_are_fractions(whole_head):
    _, anatomy = whole_head
    for fraction in (anatomy.gray, anatomy.white, anatomy.fluid, anatomy.artery, anatomy.vein):
        assert fraction.min() >= 0
        assert fraction.max() <= 1
    assert (anatomy.gray + anatomy.white + anatomy.fluid).max() <= 1.0 + 1e-5


def test_volumes_are_those_of_adults(whole_head):
    grid, anatomy = whole_head
    assert 1200 < anatomy.brain.sum() * grid.voxel_volume_ml < 2100
    assert 450 < anatomy.gray.sum() * grid.voxel_volume_ml < 1000
    assert 300 < anatomy.white.sum() * grid.voxel_volume_ml < 800
    assert 2 < anatomy.artery.sum() * grid.voxel_volume_ml < 60


def test_shell_distance_is_positive_outside(whole_head):
    _, anatomy = whole_head
    assert (anatomy.outside_mm[anatomy.brain] < 6.0).mean() > 0.99
    assert anatomy.outside_mm[0, 0].min() > 15.0


def test_flipped_and_rotated_grids_show_the_same_head(m1_patient, deformation):
    def canonical(orientation: str) -> np.ndarray:
        grid = Grid.axial((48, 48, 4), (4.0, 4.0, 8.0), (3.0, -23.0, 35.0), orientation)
        anatomy = build_anatomy(grid, deformation, m1_patient.subject)
        image = nib.as_closest_canonical(nib.Nifti1Image(anatomy.gray, grid.affine))
        return np.asarray(image.dataobj)

    reference = canonical("RAS")
    assert reference.max() > 0.5
    for orientation in ("LPS", "LAS", "RPS"):
        # The displacement is interpolated from a coarser grid, hence the tolerance.
        difference = np.abs(canonical(orientation) - reference)
        assert difference.mean() < 0.01


def test_world_and_template_positions_are_inverse(deformation):
    points = np.random.default_rng(0).uniform(-60, 60, (20, 3))
    np.testing.assert_allclose(deformation.affine(deformation.world_mm(points)), points, atol=1e-9)


def test_interpolated_displacement_is_close_to_the_field(deformation):
    grid = Grid.axial((33, 33, 2), (1.0, 1.0, 6.0), (3.0, -23.0, 35.0))
    linear = deformation.affine(grid.world_mm())
    np.testing.assert_allclose(deformation.template_mm(grid), linear + deformation.displacement(linear), atol=0.3)


def test_atrophy_widens_the_fluid_spaces(m1_patient, deformation):
    grid = Grid.axial((48, 48, 3), (4.0, 4.0, 8.0), (3.0, -23.0, 35.0))
    young, old = (
        build_anatomy(grid, deformation, replace(m1_patient.subject, atrophy_power=power)).fluid.sum()
        for power in (1.0, 2.5)
    )
    assert old > 1.2 * young
