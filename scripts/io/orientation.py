"""The one frame in which a case is computed: RAS, slices last. Results go back to the order in which it was stored."""

from __future__ import annotations

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray


class CanonicalFrame:
    """Brings arrays from the stored order of their axes to RAS and back, exactly: axes are swapped and turned around.

    Args:
        affine: (4, 4), stored voxel indices to mm (RAS+).
        shape: spatial shape as stored, (3,).

    Attributes:
        affine: (4, 4) float64, canonical voxel indices to mm.

    Example:
        >>> frame = CanonicalFrame(np.diag([-1.0, 1.0, 1.0, 1.0]), (3, 1, 1))
        >>> frame.to_canonical(np.arange(3).reshape(3, 1, 1)).ravel().tolist()
        [2, 1, 0]
    """

    def __init__(self, affine: NDArray, shape: tuple[int, ...]) -> None:
        self._to_ras = io_orientation(affine)
        self._back = ornt_transform(axcodes2ornt("RAS"), self._to_ras)
        self.affine = np.asarray(affine, dtype=np.float64) @ inv_ornt_aff(self._to_ras, shape[:3])

    def to_canonical(self, array: NDArray) -> NDArray:
        """View of an array (H, W, D, ...) as stored in RAS."""
        return apply_orientation(array, self._to_ras)

    def to_canonical_in_place(self, series: NDArray) -> NDArray:
        """As `to_canonical` of a series (H, W, D, T), without negative strides: its own memory is turned, by frame."""
        turned = tuple(slice(None, None, -1 if flip < 0 else 1) for flip in self._to_ras[:, 1])
        if any(part.step == -1 for part in turned):
            for frame in np.moveaxis(series, -1, 0):
                frame[...] = frame[turned].copy()
        return series.transpose([*np.argsort(self._to_ras[:, 0]), *range(3, series.ndim)])

    def slices_to_canonical(self, values: NDArray) -> NDArray:
        """View of values (D, ...) of the places along the third stored axis, in the order of the canonical slices.

        Raises:
            ValueError: that axis does not run through the slices of RAS.
        """
        if self._to_ras[2, 0] != 2:
            raise ValueError(f"the third axis must run along S or I, got the orientation {self._to_ras.tolist()}")
        return values[::-1] if self._to_ras[2, 1] < 0 else values

    def to_stored(self, array: NDArray) -> NDArray:
        """View of an array (H, W, D, ...) in RAS as it was stored."""
        return apply_orientation(array, self._back)


def radiological(image: NDArray, affine: NDArray) -> NDArray:
    """Turn an image to the radiological view: axial slices, anterior up, the patient's right on the left.

    Args:
        image: (H, W, D) or (H, W, D, T), its spatial axes in any order.
        affine: (4, 4), voxel indices to mm (RAS+).

    Returns:
        (rows, columns, slices) or (rows, columns, slices, T), a view; rows go from anterior to posterior, columns from
        the patient's right to left, slices from foot to head.
    """
    return apply_orientation(image, ornt_transform(io_orientation(affine), axcodes2ornt(("P", "L", "S"))))
