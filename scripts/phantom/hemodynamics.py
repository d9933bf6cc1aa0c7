"""The indicator-dilution model: arterial input, residue functions, tissue and venous curves.

Tissue enhancement follows ``C(t) = (rho / kH) (CBF / 6000) (C_a * R)(t - delay)`` (Ostergaard et al., Magn Reson Med
36:715, 1996; for CT Fieselmann et al., Int J Biomed Imaging 2011:467563), with CBF in ml/100 g/min, C in HU, R(0) = 1
and ``integral of R = MTT = 60 CBV / CBF`` seconds (central volume theorem). Everything is computed on a fine time grid
and then sampled at the frame times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal
from scipy.stats import gamma as gamma_distribution

from .gamma_variate import gamma_variate
from .parameters import BolusParameters

TISSUE_DENSITY_G_ML = 1.04  # rho, brain tissue (Rempp et al., Radiology 193:637, 1994)
ARTERY_HEMATOCRIT = 0.45  # large vessels (Rempp et al. 1994)
CAPILLARY_HEMATOCRIT = 0.25  # small vessels (Rempp et al. 1994)
HEMATOCRIT_FACTOR = (1 - ARTERY_HEMATOCRIT) / (1 - CAPILLARY_HEMATOCRIT)  # kH = 0.733
ML_PER_100G_MIN_PER_S = 6000.0  # 60 s/min times 100 g

FINE_STEP_S = 0.25
_GAMMA_RESIDUE_SHAPE = 2.0  # transit times between the exponential (1) and the box (infinite)
_MTT_NODES = 48
_MTT_RANGE_S = (0.5, 60.0)
_DELAY_STEP_S = 0.5


def arterial_curve(times_s: NDArray[np.floating], bolus: BolusParameters) -> NDArray[np.float64]:
    """Enhancement of a large artery in HU: first pass, one recirculation, and slow clearance of the mixed blood.

    The sum is scaled so that its maximum on a dense grid is ``bolus.peak_hu``.
    """

    def unscaled(t: NDArray[np.floating]) -> NDArray[np.float64]:
        first = gamma_variate(t, bolus.arrival_s, bolus.shape, bolus.scale_s)
        second = gamma_variate(
            t, bolus.arrival_s + bolus.recirculation_delay_s, bolus.shape, bolus.scale_s * bolus.recirculation_widening
        )
        elapsed = np.maximum(t - bolus.arrival_s - bolus.shape * bolus.scale_s, 0.0)
        mixed = (1.0 - np.exp(-elapsed / 5.0)) * np.exp(-elapsed / 120.0)
        return first + bolus.recirculation_fraction * second + bolus.washout_fraction * mixed

    dense = np.arange(0.0, 120.0, 0.05)
    return bolus.peak_hu * unscaled(np.asarray(times_s, dtype=float)) / unscaled(dense).max()


def residue(times_s: NDArray[np.floating], mtt_s: float, kind: str) -> NDArray[np.float64]:
    """Fraction of tracer still in the tissue at ``times_s`` after it arrived; R(0) = 1, integral = ``mtt_s``.

    Args:
        times_s: non-negative times.
        mtt_s: mean transit time.
        kind: "exponential" (one well-mixed compartment), "gamma" (gamma-distributed transit times of shape 2) or "box"
            (equal transit times).

    Raises:
        ValueError: for another ``kind``.
    """
    if kind == "exponential":
        return np.exp(-times_s / mtt_s)
    if kind == "gamma":
        return gamma_distribution.sf(times_s, _GAMMA_RESIDUE_SHAPE, scale=mtt_s / _GAMMA_RESIDUE_SHAPE)
    if kind == "box":
        return (times_s < mtt_s).astype(float)
    raise ValueError(f"kind must be exponential, gamma or box, got {kind!r}")


def _residue_weights(n: int, mtt_s: float, kind: str) -> NDArray[np.float64]:
    """Integral of the residue function over each fine step, so that the area is exact for short transit times."""
    oversampling = 8
    step_s = FINE_STEP_S / oversampling
    midpoints = (np.arange(n * oversampling) + 0.5) * step_s
    return residue(midpoints, mtt_s, kind).reshape(n, oversampling).sum(axis=1) * step_s


def convolve_residue(arterial_hu: NDArray[np.floating], mtt_s: float, kind: str) -> NDArray[np.float64]:
    """``(C_a * R)`` on the fine grid, in HU s.

    Args:
        arterial_hu: (F,) arterial curve every `FINE_STEP_S`.
        mtt_s: mean transit time.
        kind: residue function.

    Returns:
        (F,) the convolution. The residue is integrated over each step and the arterial curve taken halfway, so the
        error is of second order in the step.
    """
    n = len(arterial_hu)
    halfway = 0.5 * (arterial_hu + np.concatenate([[0.0], arterial_hu[:-1]]))
    return signal.fftconvolve(halfway, _residue_weights(n, mtt_s, kind))[:n]


@dataclass(frozen=True)
class CurveTable:
    """Curves at the frame times for every transit time and delay, to be interpolated for each voxel.

    Attributes:
        log_mtt: (M,) natural logarithms of the transit times in s, evenly spaced.
        delays_s: (L,) delays, evenly spaced from zero.
        tissue: (M, L, T) float32, tissue curves ``(C_a * R)(t - delay) / MTT`` in HU: the enhancement of a tissue that
            is all blood.
        artery: (L, T) float32, delayed arterial curves in HU.
        vein: (L, T) float32, delayed venous curves in HU.
    """

    log_mtt: NDArray[np.float64]
    delays_s: NDArray[np.float64]
    tissue: NDArray[np.float32]
    artery: NDArray[np.float32]
    vein: NDArray[np.float32]

    @classmethod
    def build(cls, bolus: BolusParameters, frame_times_s: NDArray[np.floating], max_delay_s: float) -> CurveTable:
        """Convolve on the fine grid and sample.

        Args:
            bolus: arterial input and residue.
            frame_times_s: (T,) acquisition times.
            max_delay_s: the longest delay of the table.
        """
        fine_s = np.arange(0.0, float(frame_times_s[-1]) + FINE_STEP_S, FINE_STEP_S)
        arterial = arterial_curve(fine_s, bolus)
        log_mtt = np.linspace(np.log(_MTT_RANGE_S[0]), np.log(_MTT_RANGE_S[1]), _MTT_NODES)
        delays_s = np.arange(0.0, max_delay_s + 2 * _DELAY_STEP_S, _DELAY_STEP_S)
        shifted_s = frame_times_s[None, :] - delays_s[:, None]

        def sampled(curve: NDArray[np.float64]) -> NDArray[np.float32]:
            return np.interp(shifted_s, fine_s, curve, left=0.0).astype(np.float32)

        tissue = [sampled(convolve_residue(arterial, mtt_s, bolus.residue) / mtt_s) for mtt_s in np.exp(log_mtt)]
        vein = bolus.venous_gain * convolve_residue(arterial, bolus.venous_transit_s, "gamma") / bolus.venous_transit_s
        # Venous blood has passed the capillaries: at least the transit time of tissue.
        return cls(log_mtt, delays_s, np.stack(tissue), sampled(arterial), sampled(_delayed(vein, 2.0)))

    def tissue_curves(
        self, cbf: NDArray[np.floating], cbv: NDArray[np.floating], delay_s: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Tissue enhancement of each voxel.

        Args:
            cbf: (N,) ml/100 g/min.
            cbv: (N,) ml/100 g.
            delay_s: (N,) arrival after the arterial curve.

        Returns:
            (N, T) float32 in HU; zero where there is no flow.
        """
        safe_cbf = np.maximum(cbf, 1e-3)
        mtt_s = np.clip(60.0 * cbv / safe_cbf, *_MTT_RANGE_S)
        row, row_weight = _interpolation(np.log(mtt_s), self.log_mtt)
        column, column_weight = _interpolation(delay_s, self.delays_s)
        flat = self.tissue.reshape(-1, self.tissue.shape[-1])
        n_delays = len(self.delays_s)
        # (rho / kH) (CBF / 6000) (C_a * R) = (rho / kH) (CBF MTT / 6000) x table; CBF MTT / 6000 = CBV / 100.
        scale = TISSUE_DENSITY_G_ML / HEMATOCRIT_FACTOR * safe_cbf * mtt_s / ML_PER_100G_MIN_PER_S
        scale = np.where(cbf > 1e-3, scale, 0.0)
        curves = np.zeros((len(cbf), flat.shape[1]), dtype=np.float32)
        for r, wr in ((row, 1 - row_weight), (row + 1, row_weight)):
            for c, wc in ((column, 1 - column_weight), (column + 1, column_weight)):
                curves += flat[r * n_delays + c] * (scale * wr * wc).astype(np.float32)[:, None]
        return curves

    def vessel_curves(self, delay_s: NDArray[np.floating], kind: str) -> NDArray[np.float32]:
        """Enhancement of pure blood, (N, T) float32 in HU; ``kind`` is "artery" or "vein"."""
        table = {"artery": self.artery, "vein": self.vein}[kind]
        column, weight = _interpolation(delay_s, self.delays_s)
        weight = weight.astype(np.float32)[:, None]
        return table[column] * (1 - weight) + table[column + 1] * weight


def _interpolation(values: NDArray[np.floating], nodes: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray]:
    """Lower node and weight of the upper one, for linear interpolation on even ``nodes``; clamped to the ends."""
    position = np.clip((values - nodes[0]) / (nodes[1] - nodes[0]), 0.0, len(nodes) - 1.000001)
    lower = position.astype(np.intp)
    return lower, position - lower


def _delayed(curve: NDArray[np.float64], delay_s: float) -> NDArray[np.float64]:
    steps = round(delay_s / FINE_STEP_S)
    return np.concatenate([np.zeros(steps), curve[: len(curve) - steps]])
