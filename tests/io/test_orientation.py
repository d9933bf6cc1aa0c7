import itertools

import nibabel as nib
import numpy as np
import pytest

from scripts.io.orientation import CanonicalFrame

ORDERS = [
    np.array(list(zip(order, flips, strict=True)))
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order.ravel())))
def test_every_order_of_the_axes_becomes_ras_and_comes_back(order):
    affine = np.array([[2.0, 0.2, 0.0, -9.0], [-0.1, 3.0, 0.3, 4.0], [0.0, -0.2, 7.0, 5.0], [0.0, 0.0, 0.0, 1.0]])
    ras = nib.Nifti1Image(np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5), affine)
    stored = ras.as_reoriented(order)
    frame = CanonicalFrame(stored.affine, stored.shape)
    canonical = frame.to_canonical(np.asarray(stored.dataobj))
    np.testing.assert_array_equal(canonical, np.asarray(ras.dataobj))
    np.testing.assert_allclose(frame.affine, affine, atol=1e-12)
    np.testing.assert_array_equal(frame.to_stored(canonical), np.asarray(stored.dataobj))
    turned = frame.to_canonical_in_place(np.array(stored.dataobj))
    np.testing.assert_array_equal(turned, canonical)
    assert min(turned.strides) > 0


def test_nothing_is_copied():
    array = np.zeros((3, 4, 5))
    frame = CanonicalFrame(np.diag([-1.0, -1.0, 2.0, 1.0]), array.shape)
    assert np.shares_memory(array, frame.to_canonical(array))
