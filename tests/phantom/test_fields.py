import numpy as np
from scipy.special import expit

from scripts.phantom.fields import SmoothField, sigmoid


def _points(n: int) -> np.ndarray:
    return np.random.default_rng(3).uniform((-80, -110, -60), (80, 80, 90), (n, 3))


def test_field_has_zero_mean_and_unit_standard_deviation():
    values = np.concatenate([SmoothField.sample(np.random.default_rng(seed), 8.0)(_points(20000)) for seed in range(8)])
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1.0) < 0.03


def test_field_is_a_function_of_the_position_alone():
    field = SmoothField.sample(np.random.default_rng(5), 20.0)
    points = _points(60)
    np.testing.assert_array_equal(field(points).reshape(3, 20), field(points.reshape(3, 20, 3)))
    np.testing.assert_array_equal(field(points)[::-1], field(points[::-1]))


def test_neighboring_points_agree_on_the_scale_of_the_lattice():
    field = SmoothField.sample(np.random.default_rng(6), 20.0)
    points = _points(4000)
    near, far = (np.corrcoef(field(points), field(points + (d, 0, 0)))[0, 1] for d in (2.0, 80.0))
    assert near > 0.97
    assert abs(far) < 0.15


def test_sigmoid_matches_scipy_and_does_not_overflow():
    x = np.array([-1e6, -3.0, 0.0, 0.5, 1e6])
    np.testing.assert_allclose(sigmoid(x), expit(x), rtol=1e-5, atol=1e-7)
