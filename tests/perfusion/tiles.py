"""A digital phantom of tiles: curves of every combination of flow, transit time, delay and residue function.

Written after the description of Kudo et al., Radiology 2013;267:201-211: a block for the arterial curve, a block for
the venous one, and tiles that span flow, mean transit time and delay, for an exponential and a box residue; a gamma
residue and a dispersed bolus are added. All curves are integrals on a grid of 0.02 s of closed forms.
"""

from __future__ import annotations

from itertools import product
from time import process_time
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.signal import fftconvolve
from scipy.stats import gamma
from torch import Tensor

from scripts.perfusion.bayesian import BayesianEstimator
from scripts.perfusion.deconvolution import deconvolve

from .curves import residue

FINE_S = 0.02
ARRIVAL_S = 8.0
AREA_HU_S = 2000.0  # of the first pass: 300 HU for a width of 6 s, 160 HU for one of 12 s, as for one dose
SCALE = 1.04 / 0.733 / 6000  # enhancement of 1 ml/100 g/min of blood that stays for 1 s, over the arterial one

WIDTHS_S = (4.0, 6.0, 8.0, 12.0)
TRANSITS_S = (3.0, 4.0, 6.0, 9.0, 12.0, 16.0)
DELAYS_S = (0.0, 2.6, 5.0, 7.3, 9.8, 12.0)
RESIDUES = ("exponential", "gamma", "box")
FRAMES_S = {
    "1 s": np.arange(0.0, 76.0, 1.0),
    "2 s": np.arange(0.0, 76.0, 2.0),
    "uneven": np.concatenate([np.arange(0.0, 40.0, 1.0), np.arange(40.0, 80.0, 3.0)]),
}


class Tiles(NamedTuple):
    """Curves of tiles (T, N), and what made them."""

    times_s: Tensor
    aif_hu: Tensor
    vof_hu: Tensor
    curves: Tensor
    cbf: Tensor
    mtt_s: Tensor
    delay_s: Tensor
    kind: NDArray


def first_pass(time_s: NDArray, width_s: float) -> NDArray:
    """Gamma-variate curve of unit area that starts at 0, with this full width at half maximum."""
    bolus = gamma(a=4)
    half = bolus.pdf(3.0) / 2
    width = brentq(lambda t: bolus.pdf(t) - half, 3.0, 20.0) - brentq(lambda t: bolus.pdf(t) - half, 0.01, 3.0)
    return gamma.pdf(time_s, a=4, scale=width_s / width)


def arterial(time_s: NDArray, width_s: float, second_pass: bool) -> NDArray:
    """Arterial enhancement in HU; a second pass has a quarter of the area, comes 12 s later and is twice as wide."""
    curve = first_pass(time_s - ARRIVAL_S, width_s)
    if second_pass:
        curve = curve + 0.25 * first_pass(time_s - ARRIVAL_S - 12.0, 2 * width_s)
    return AREA_HU_S * curve


def tiles(
    width_s: float,
    second_pass: bool,
    times_s: NDArray,
    *,
    flows: tuple[float, ...] = (50.0,),
    transits_s: tuple[float, ...] = TRANSITS_S,
    delays_s: tuple[float, ...] = DELAYS_S,
    kinds: tuple[str, ...] = RESIDUES,
    dispersion_s: float = 0.0,
    longest_volume: float = 100.0,
) -> Tiles:
    """Every combination of flow (ml/100 g/min), mean transit time, delay and residue up to a volume (ml/100 g)."""
    fine_s = np.arange(0.0, times_s[-1] + FINE_S, FINE_S)
    aif = arterial(fine_s, width_s, second_pass)
    local = dispersed(aif, dispersion_s)
    venous = dispersed(np.interp(fine_s - 5.0, fine_s, aif, left=0.0), 2.0)
    shapes = {}
    for kind, mtt_s in product(kinds, transits_s):
        response = residue(kind, fine_s, mtt_s)
        response[0] /= 2
        shapes[kind, mtt_s] = SCALE * FINE_S * fftconvolve(local, response)[: len(fine_s)]
    rows = [row for row in product(kinds, transits_s, delays_s, flows) if row[1] * row[3] / 60 <= longest_volume]
    curves = [
        flow * np.interp(times_s - delay_s, fine_s, shapes[kind, mtt_s], left=0.0)
        for kind, mtt_s, delay_s, flow in rows
    ]
    kind, mtt_s, delay_s, flow = (np.array(column) for column in zip(*rows, strict=True))
    return Tiles(
        torch.from_numpy(times_s),
        torch.from_numpy(np.interp(times_s, fine_s, aif)).float(),
        torch.from_numpy(np.interp(times_s, fine_s, venous)).float(),
        torch.from_numpy(np.stack(curves, axis=1)).float(),
        torch.from_numpy(flow).float(),
        torch.from_numpy(mtt_s).float(),
        torch.from_numpy(delay_s).float(),
        kind,
    )


def dispersed(curve: NDArray, time_s: float) -> NDArray:
    """A curve of the fine grid after it passed a vessel with exponentially distributed transit times."""
    if not time_s:
        return curve
    kernel = np.exp(-np.arange(len(curve)) * FINE_S / time_s)
    return fftconvolve(curve, kernel / kernel.sum())[: len(curve)]


def table(
    widths_s: tuple[float, ...] = WIDTHS_S,
    frames: tuple[str, ...] = ("1 s", "2 s"),
    noises_hu: tuple[float, ...] = (0.0, 0.5),
) -> str:
    """Markdown table of flow over truth, error of Tmax and processor time for each method, a second pass in all."""
    lines = [
        "| method | width, s | frames | noise, HU | CBF ratio, min / median / max | Tmax error, s | time, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for width_s, name, noise_hu in product(widths_s, frames, noises_hu):
        made = tiles(width_s, True, FRAMES_S[name], flows=(50.0,))
        noise = noise_hu * torch.randn(made.curves.shape, generator=torch.Generator().manual_seed(0))
        curves, dt_s = made.curves + noise, float(FRAMES_S[name][1])
        methods = {
            "oSVD": lambda c=curves, m=made, d=dt_s: deconvolve(c.T, m.aif_hu, d, method="osvd"),
            "bcSVD": lambda c=curves, m=made, d=dt_s: deconvolve(c.T, m.aif_hu, d, method="bcsvd"),
            "sSVD": lambda c=curves, m=made, d=dt_s: deconvolve(c.T, m.aif_hu, d, method="ssvd"),
            "Bayesian": lambda c=curves, m=made, n=noise_hu: BayesianEstimator(m.aif_hu, m.times_s)(c, max(n, 0.05)),
        }
        for method, estimate in methods.items():
            start = process_time()
            found = estimate()
            spent = process_time() - start
            ratio, late = found.cbf / made.cbf, found.tmax - made.delay_s
            numbers = (" / ".join(f"{q:.2f}" for q in (v.min(), v.median(), v.max())) for v in (ratio, late))
            lines.append(f"| {method} | {width_s:g} | {name} | {noise_hu:g} | {' | '.join(numbers)} | {spent:.3f} |")
    return "\n".join(lines)
