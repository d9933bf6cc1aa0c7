import numpy as np
import pytest

from scripts.phantom.territories import ANCHORS_RIGHT, territory_margin_mm
from scripts.phantom.vessels import both_sides, rasterize

MCA = ("mca_superior", "mca_inferior", "lenticulostriate")


@pytest.mark.parametrize("radius_mm", [1.5, 2.5, 3.4])
def test_cross_section_of_a_tube_has_the_area_of_a_disc(radius_mm):
    tube = rasterize([(radius_mm, [(0, -10, 0.3), (0, 10, 0.3)])], (21, 41, 21), np.array([-10.2, -20.0, -10.0]))
    area_mm2 = tube[:, 20].sum()
    # The soft border adds the second moment of a box of width 1, pi / 12, to the disc.
    assert area_mm2 == pytest.approx(np.pi * radius_mm**2 + np.pi / 12, rel=0.06)
    assert tube.max() == 1.0


def test_vessels_outside_the_grid_are_cut():
    tube = rasterize([(2.0, [(0, 0, 0), (50, 0, 0)])], (10, 10, 10), np.array([0.0, -5.0, -5.0]))
    assert tube[9].sum() > 0


def test_mirrored_vessels():
    assert both_sides([(1.0, [(3, 1, 2)])], [(2.0, [(0, 0, 0)])]) == [
        (2.0, [(0, 0, 0)]),
        (1.0, [(3, 1, 2)]),
        (1.0, [(-3, 1, 2)]),
    ]


@pytest.mark.parametrize(
    ("point", "names", "side"),
    [
        ((50.0, -5.0, 30.0), MCA, "right"),
        ((-50.0, -5.0, 30.0), MCA, "left"),
        ((6.0, 40.0, 25.0), ("aca",), "right"),
        ((-12.0, -85.0, 5.0), ("pca",), "left"),
        ((22.0, 4.0, 4.0), ("lenticulostriate",), "right"),
        ((-10.0, -18.0, 6.0), ("thalamic",), "left"),
    ],
)
def test_textbook_points_lie_in_their_territory_alone(point, names, side):
    points = np.array([point])
    other = "left" if side == "right" else "right"
    assert territory_margin_mm(points, names, side)[0] > 0
    assert territory_margin_mm(points, names, other)[0] < 0
    for name in set(ANCHORS_RIGHT) - set(names):
        assert territory_margin_mm(points, (name,), side)[0] < 0


def test_territories_are_mirror_images():
    points = np.random.default_rng(0).uniform(-70, 70, (200, 3))
    mirrored = points * (-1, 1, 1)
    np.testing.assert_allclose(
        territory_margin_mm(points, MCA, "right"), territory_margin_mm(mirrored, MCA, "left"), atol=1e-4
    )


def test_margin_is_the_distance_to_a_plane_between_two_anchors():
    inside, outside = np.array(ANCHORS_RIGHT["mca_superior"][4]), np.array(ANCHORS_RIGHT["mca_superior"][3])
    middle = (inside + outside) / 2
    assert territory_margin_mm(middle[None], ("mca_superior",), "right")[0] > 0
    lateral = np.array([[10.0, 0.0, 62.0]])  # as far from the ACA's anchors right of the midline as the mirror's
    assert territory_margin_mm(lateral * (0, 1, 1), ("aca",), "right")[0] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(("names", "side"), [(("basilar",), "right"), (("aca",), "up")])
def test_unknown_names_are_told(names, side):
    with pytest.raises(ValueError, match="expected territories of .*aca.* and side right|left"):
        territory_margin_mm(np.zeros((1, 3)), names, side)
