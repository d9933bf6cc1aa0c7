"""Resampling of a series to a fixed number of frames."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type

#: C_e of Wang et al. 2020, section 4.1.
FRAMES = 6


class TemporalResample(Transform):
    """Resample (T, H, W, D) uniformly to (``frames``, H, W, D) by linear interpolation between frames.

    The first and the last frame are kept; C_e = 6 in Wang et al. 2020, section 3.1.

    Args:
        frames: number of frames of the output, at least 2.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(self, frames: int = FRAMES):
        if frames < 2:
            raise ValueError(f"frames: expected at least 2, got {frames}")
        self.frames = frames

    def __call__(self, series: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return the resampled series as float32, with the metadata of the input."""
        if series.ndim != 4 or len(series) < 2:
            raise ValueError(f"series: expected (T, H, W, D) with at least 2 frames, got shape {tuple(series.shape)}")
        tensor = torch.as_tensor(series)
        position = torch.linspace(0, len(tensor) - 1, self.frames, dtype=torch.float64, device=tensor.device)
        lower = position.floor().long().clamp(max=len(tensor) - 2)
        weight = (position - lower).to(torch.float32).view(-1, 1, 1, 1)
        resampled = torch.lerp(tensor[lower].to(torch.float32), tensor[lower + 1].to(torch.float32), weight)
        return convert_to_dst_type(resampled, series, dtype=torch.float32)[0]


class TemporalResampled(MapTransform):
    """Dictionary version of :class:`TemporalResample`."""

    backend = TemporalResample.backend

    def __init__(self, keys: KeysCollection = "image", frames: int = FRAMES, allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.resample = TemporalResample(frames)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the series of a copy of ``data``."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.resample(output[key])
        return output
