"""Slices that are sampled at times of their own: a moving table, two slabs in turn, slices one after the other.

Curves of slices with the same times are estimated together, at these times: nothing is interpolated onto frames that
were never taken. All times are on one clock, which starts at the mean time of the first frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .enhancement import Times, frame_times

_SAME_S = 0.05  # a choice; delays are uncertain by tenths of a second


class Slab(NamedTuple):
    """Slices that are sampled together."""

    slices: Tensor | slice
    """Their indices, rising."""
    times_s: Tensor
    """(T,) when they were sampled, s after the first frame."""

    def of(self, volume: Tensor) -> Tensor:
        """Its part (..., d) of a volume or series (..., D), of which neighboring slices are a view."""
        if isinstance(self.slices, slice):
            return volume[..., self.slices]
        # in the order of a file: indexing would make slices the axis that changes fastest
        return volume.transpose(-1, -3).index_select(-3, self.slices).transpose(-1, -3)


def slice_times(slice_times_s: Tensor | Sequence[Sequence[float]], n_slices: int, n_frames: int) -> Tensor:
    """Times (D, T) of slices, float32, in s after the mean time of the first frame.

    Raises:
        ValueError: they are not finite times that rise for every slice, one per slice and frame.
    """
    times = torch.as_tensor(slice_times_s, dtype=torch.float64)
    if tuple(times.shape) != (n_slices, n_frames):
        raise ValueError(
            f"slice_times_s must have a time for {n_slices} slices in {n_frames} frames, got {tuple(times.shape)}"
        )
    rising = torch.isfinite(times).all(dim=1) & (times.diff(dim=1) > 1e-3).all(dim=1)
    if not rising.all():
        wrong = int((~rising).nonzero()[0])
        raise ValueError(f"slice_times_s must rise by 1 ms at least, got for slice {wrong} {times[wrong].tolist()}")
    return (times - times[:, 0].mean()).float()


def frame_and_slice_times(
    times_s: Times, slice_times_s: Tensor | Sequence[Sequence[float]] | None, n_slices: int, n_frames: int
) -> tuple[Tensor, Tensor | None]:
    """Times of the frames (T,) and of the slices (D, T), if given, whose means are then those of the frames.

    Raises:
        ValueError: they do not fit the series, or differ from each other by more than a frame.
    """
    frames = frame_times(times_s, n_frames)
    if slice_times_s is None:
        return frames, None
    of_slices = slice_times(slice_times_s, n_slices, n_frames)
    means = of_slices.mean(dim=0)
    apart_s = float((means - frames).abs().max())
    if apart_s > float(frames.diff().median()):
        raise ValueError(f"slice_times_s must have times_s as their means, got up to {apart_s:.4g} s between them")
    return means - means[0], of_slices


def slabs(slice_times_s: Tensor) -> list[Slab]:
    """Slices by their times (D, T), with the mean of times that differ by 0.05 s at most."""
    members: list[list[int]] = []
    for index, times in enumerate(slice_times_s):
        for slab in members:
            if float((times - slice_times_s[slab[0]]).abs().max()) <= _SAME_S:
                slab.append(index)
                break
        else:
            members.append([index])
    return [Slab(_indices(slab, slice_times_s), slice_times_s[slab].mean(dim=0)) for slab in members]


def at_frame_times(series: Tensor, slice_times_s: Tensor) -> Tensor:
    """A series (T, H, W, D) with every slice at the mean times of the frames, by lines between its samples.

    For what looks at whole frames, not for the estimate: lines cut off the peak of a bolus. Before the first sample of
    a slice and after the last one, that sample is repeated.

    Args:
        series: (T, H, W, D).
        slice_times_s: (D, T).

    Raises:
        ValueError: these are not times of as many slices in as many frames.
    """
    if tuple(slice_times_s.shape) != (series.shape[3], len(series)):
        raise ValueError(
            f"slice_times_s must have a time for {series.shape[3]} slices in {len(series)} frames, "
            f"got {tuple(slice_times_s.shape)}"
        )
    wanted_s = slice_times_s.mean(dim=0)
    common = torch.empty_like(series, dtype=torch.float32)
    for index, times_s in enumerate(slice_times_s):
        after = torch.searchsorted(times_s, wanted_s).clamp(1, len(times_s) - 1)
        share = ((wanted_s - times_s[after - 1]) / (times_s[after] - times_s[after - 1])).clamp(0, 1).float()
        samples = series[..., index].float()
        common[..., index] = torch.lerp(samples[after - 1], samples[after], share[:, None, None].to(samples.device))
    return common


def _indices(slab: list[int], slice_times_s: Tensor) -> Tensor | slice:
    if slab[-1] - slab[0] == len(slab) - 1:
        return slice(slab[0], slab[-1] + 1)
    return torch.tensor(slab, device=slice_times_s.device)
