"""The gamma variate, the usual model of the first pass of a bolus (Thompson et al., Circ Res 14:502, 1964), and its
width.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw


def gamma_variate(times_s: NDArray[np.floating], arrival_s: float, shape: float, scale_s: float) -> NDArray[np.float64]:
    """Gamma variate with its peak, at ``arrival_s + shape * scale_s``, scaled to one (Thompson et al. 1964)."""
    elapsed = np.maximum(times_s - arrival_s, 0.0) / (shape * scale_s)
    return np.where(elapsed > 0, elapsed**shape * np.exp(shape * (1.0 - elapsed)), 0.0)


def width_s(shape: float, scale_s: float) -> float:
    """Full width at half maximum of `gamma_variate`.

    With ``x`` the time over that of the peak, half of the maximum is where ``x exp(1 - x) = 2^(-1 / shape)``. The two
    solutions are ``x = -W(-2^(-1 / shape) / e)`` on the real branches of Lambert's function.
    """
    argument = -(2.0 ** (-1.0 / shape)) / math.e
    rise, fall = (-float(lambertw(argument, branch).real) for branch in (0, -1))
    return shape * scale_s * (fall - rise)
