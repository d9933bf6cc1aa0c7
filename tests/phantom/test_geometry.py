import nibabel as nib
import numpy as np
import pytest

from scripts.phantom.geometry import ORIENTATION_SIGNS, Grid, rotation_matrix


@pytest.mark.parametrize("orientation", sorted(ORIENTATION_SIGNS))
def test_axis_codes_are_those_asked_for(orientation):
    grid = Grid.axial((8, 9, 3), (0.9, 0.9, 8.0), (5.0, -3.0, 40.0), orientation)
    assert "".join(nib.aff2axcodes(grid.affine)) == orientation


@pytest.mark.parametrize("tilt_deg", [(0.0, 0.0, 0.0), (12.0, -3.0, 2.0)])
def test_world_positions_are_those_of_nibabel(tilt_deg):
    grid = Grid.axial((4, 5, 3), (0.8, 1.0, 6.0), (5.0, -3.0, 40.0), "LPS", tilt_deg)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    np.testing.assert_allclose(grid.world_mm(), nib.affines.apply_affine(grid.affine, index), atol=1e-9)
    np.testing.assert_allclose(grid.world_mm().reshape(-1, 3).mean(axis=0), (5.0, -3.0, 40.0), atol=1e-9)
    np.testing.assert_allclose(grid.spacing_mm, (0.8, 1.0, 6.0))
    assert grid.voxel_volume_ml == pytest.approx(0.8 * 6.0 / 1000)


def test_tilt_makes_the_affine_oblique():
    assert (
        nib.affines.obliquity(Grid.axial((4, 4, 2), (1, 1, 5), (0, 0, 0), "RAS", (12.0, 0.0, 0.0)).affine).max() > 0.2
    )


def test_subplanes_average_to_the_slice():
    grid = Grid.axial((3, 3, 4), (1.0, 1.0, 9.0), (0.0, 0.0, 10.0))
    planes = grid.world_mm(subplanes=3).reshape(3, 3, 4, 3, 3)
    np.testing.assert_allclose(planes.mean(axis=3), grid.world_mm())
    assert np.diff(planes[0, 0, 0, :, 2]) == pytest.approx([3.0, 3.0])


def test_stride_reaches_past_the_last_voxel():
    grid = Grid.axial((10, 9, 1), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0))
    coarse = grid.world_mm(stride=4)
    assert coarse.shape == (4, 3, 1, 3)
    assert coarse[-1, 0, 0, 0] >= grid.world_mm()[-1, 0, 0, 0]
    np.testing.assert_allclose(coarse[1, 2], grid.world_mm()[4, 8])


def test_rotation_turns_x_into_y_about_z():
    np.testing.assert_allclose(rotation_matrix((0.0, 0.0, 90.0)) @ (1, 0, 0), (0, 1, 0), atol=1e-12)
    turn = rotation_matrix((10.0, 20.0, 30.0))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_unknown_orientation_is_named():
    with pytest.raises(ValueError, match="orientation must be one of .*'RAS'.* got 'XYZ'"):
        Grid.axial((4, 4, 2), (1, 1, 5), (0, 0, 0), "XYZ")
