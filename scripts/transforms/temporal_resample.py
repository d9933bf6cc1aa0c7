"""Resampling of a series to a fixed number of frames."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type

#: C_e of Wang et al. 2020, section 4.1.
FRAMES = 6


class TemporalResample(Transform):
    """Resample (T, H, W, D) uniformly to (``frames``, H, W, D) by linear interpolation between frames.

    The first and the last frame are kept; C_e = 6 in Wang et al. 2020, section 3.1. Uniformly means in time: where
    frames are unevenly spaced, their times say between which two of them a frame of the output lies.

    Args:
        frames: number of frames of the output, at least 2.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(self, frames: int = FRAMES):
        if frames < 2:
            raise ValueError(f"frames: expected at least 2, got {frames}")
        self.frames = frames

    def __call__(self, series: NdarrayOrTensor, times_s: NdarrayOrTensor | None = None) -> NdarrayOrTensor:
        """Return the resampled series as float32, with the metadata of the input.

        Args:
            series: (T, H, W, D).
            times_s: (T,) times of the frames in s, rising, where they are uneven.
        """
        if series.ndim != 4 or len(series) < 2:
            raise ValueError(f"series: expected (T, H, W, D) with at least 2 frames, got shape {tuple(series.shape)}")
        tensor = torch.as_tensor(series)
        position = self._positions(len(tensor), times_s).to(tensor.device)
        lower = position.floor().long().clamp(max=len(tensor) - 2)
        weight = (position - lower).to(torch.float32).view(-1, 1, 1, 1)
        resampled = torch.lerp(tensor[lower].to(torch.float32), tensor[lower + 1].to(torch.float32), weight)
        return convert_to_dst_type(resampled, series, dtype=torch.float32)[0]

    def _positions(self, length: int, times_s: NdarrayOrTensor | None) -> torch.Tensor:
        """Where the frames of the output lie among those of the input, in frames."""
        if times_s is None:
            return torch.linspace(0, length - 1, self.frames, dtype=torch.float64)
        known_s = np.asarray(times_s, dtype=np.float64)
        if known_s.shape != (length,):
            raise ValueError(f"times_s: expected {length} times, got shape {known_s.shape}")
        wanted_s = np.linspace(known_s[0], known_s[-1], self.frames)
        return torch.from_numpy(np.interp(wanted_s, known_s, np.arange(length)))


class TemporalResampled(MapTransform):
    """Dictionary version of :class:`TemporalResample`; ``data[times_key]`` has the times of uneven frames in s."""

    backend = TemporalResample.backend

    def __init__(
        self,
        keys: KeysCollection = "image",
        frames: int = FRAMES,
        allow_missing_keys: bool = False,
        times_key: str = "kept_times_s",
    ):
        super().__init__(keys, allow_missing_keys)
        self.resample = TemporalResample(frames)
        self.times_key = times_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the series of a copy of ``data``."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.resample(output[key], output.get(self.times_key))
        return output
