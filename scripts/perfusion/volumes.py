"""The result of the maps: volumes, masks, arterial curves and frame times."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .arterial_input import ArterialInput
from .frame_motion import FrameMotion


class PerfusionVolumes(NamedTuple):
    """Maps of an examination and what they were made from; tensors on the device of the series.

    The maps are float32 (H, W, D), zero outside the brain and in fluid. Large vessels show what tissue surrounds them.
    """

    cbf: Tensor
    """Cerebral blood flow, ml/100 g/min."""
    cbv: Tensor
    """Cerebral blood volume, ml/100 g."""
    mtt: Tensor
    """Mean transit time, 60 CBV / CBF, s."""
    tmax: Tensor
    """Time at which the residue function is largest, s; not below 0."""
    ttp: Tensor
    """Time from the first frame to the peak of the tissue curve, s."""
    cbf_sd: Tensor | None
    """Standard deviation of CBF, ml/100 g/min; None where the method gives none, as the two that follow."""
    cbv_sd: Tensor | None
    """Standard deviation of CBV, ml/100 g."""
    tmax_sd: Tensor | None
    """Standard deviation of Tmax, s."""
    baseline: Tensor
    """Attenuation before contrast, smoothed, HU."""
    brain: Tensor
    """Boolean (H, W, D)."""
    tissue: Tensor
    """Boolean (H, W, D): the brain without its vessels and fluid spaces, what statistics are made of."""
    arterial: ArterialInput
    """The arterial input and venous output functions, at `times_s`."""
    n_baseline: int
    """Frames before contrast arrives."""
    times_s: Tensor
    """(T,) times of the frames that were used, s after the first frame of the series; means over the slices."""
    series_times_s: Tensor
    """(T',) times of all frames of the series."""
    dt_s: float
    """Usual time between the frames that were used, s."""
    motion: FrameMotion
    """How far the head moved in every frame of the series, and which frames were left out."""
    motion_mm: Tensor
    """(T,) displacement of each frame that was used at the surface of the brain, by the curves; what is left of it
    after a motion correction."""
    noise_ratio: float
    """Noise of the smoothed curves over the peak of their mean."""
    slice_times_s: Tensor | None = None
    """(D, T') times of all slices of all frames, s; None where the slices of a frame were taken at once."""
