"""Smooth random functions of position, for irregular borders and anatomical variation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# A uniform cubic B-spline of independent N(0, 1) coefficients has this standard deviation per axis, averaged over
# position: sum over the four basis functions of the mean of their squares = 151/315 (integral of the squared B-spline).
_SPLINE_STD_PER_AXIS = float(np.sqrt(151.0 / 315.0))
_LOWER_CORNER_MM = np.array([-110.0, -150.0, -90.0])
_UPPER_CORNER_MM = np.array([110.0, 115.0, 125.0])


@dataclass(frozen=True)
class SmoothField:
    """A cubic B-spline random field over template (MNI) space with zero mean and unit standard deviation.

    It is a function of the position, not of a voxel grid, so two scans of one patient have the same field.

    Attributes:
        coefficients: (X, Y, Z) spline coefficients on a lattice.
        lattice_mm: distance of the lattice nodes in mm; about the correlation length of the field.
    """

    coefficients: NDArray[np.float32]
    lattice_mm: float

    @classmethod
    def sample(cls, rng: np.random.Generator, lattice_mm: float) -> SmoothField:
        """Draw a field whose structures are about ``lattice_mm`` wide."""
        nodes = np.ceil((_UPPER_CORNER_MM - _LOWER_CORNER_MM) / lattice_mm).astype(int) + 4
        coefficients = rng.standard_normal(tuple(nodes), dtype=np.float32) / _SPLINE_STD_PER_AXIS**3
        return cls(coefficients, lattice_mm)

    def __call__(self, points_mm: NDArray[np.floating]) -> NDArray[np.float32]:
        """Evaluate the field at ``points_mm``, shape (..., 3) in MNI mm; returns shape (...)."""
        positions = np.moveaxis((points_mm - _LOWER_CORNER_MM) / self.lattice_mm + 1.0, -1, 0)
        return ndimage.map_coordinates(
            self.coefficients, positions, output=np.float32, order=3, mode="nearest", prefilter=False
        )


def sigmoid(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """The logistic function, safe for any magnitude, as float32."""
    return (0.5 * (1.0 + np.tanh(0.5 * x))).astype(np.float32)


def correlated_noise(
    shape: tuple[int, ...], correlation_px: float, rng: np.random.Generator, axes: tuple[int, int] = (0, 1)
) -> NDArray[np.float32]:
    """Gaussian noise of unit standard deviation, blurred in the plane as by a reconstruction kernel.

    Args:
        shape: of the result.
        correlation_px: standard deviation of the Gaussian kernel in pixels.
        rng: source of randomness.
        axes: the two in-plane axes.
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    taps = np.arange(-3, 4)
    kernel = np.exp(-0.5 * (taps / correlation_px) ** 2)
    # White noise filtered with weights w has the standard deviation sqrt(sum w^2); this norm keeps it at one.
    kernel /= np.sqrt((kernel**2).sum())
    for axis in axes:
        noise = ndimage.correlate1d(noise, kernel, axis=axis, mode="wrap")
    return noise
