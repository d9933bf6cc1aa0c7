"""Temporal maximum intensity projection, the low-level feature F_l of Wang et al. 2020."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from ..perfusion.frames import over_time


class TemporalMIP(Transform):
    """Project a CT-perfusion series to its maximum over time (Wang et al. 2020, Eq. 1: F_l = max_t I).

    The input is (T, H, W, D) in HU, the output (1, H, W, D) in HU.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __call__(self, series: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return the maximum over the first axis, which is kept with length 1."""
        if series.ndim != 4:
            raise ValueError(f"series: expected 4 dimensions (T, H, W, D), got shape {tuple(series.shape)}")
        if not isinstance(series, torch.Tensor):
            return series.max(0, keepdims=True)
        plain = convert_to_tensor(series, track_meta=False)
        projection = over_time(plain, lambda frames: frames.amax(dim=0))
        return convert_to_dst_type(projection[None], series)[0]


class TemporalMIPd(MapTransform):
    """Dictionary version of :class:`TemporalMIP`: writes the projection of ``keys`` to ``output_key``."""

    backend = TemporalMIP.backend

    def __init__(self, keys: KeysCollection = "image", output_key: str = "mip", allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ValueError(f"keys: expected the one key of the series, got {self.keys}")
        self.output_key = output_key
        self.project = TemporalMIP()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the projection to a copy of ``data``."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[self.output_key] = self.project(output[key])
        return output
