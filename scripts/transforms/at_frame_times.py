"""Slices with times of their own at those of their frames, for networks, which see whole frames."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from ..perfusion.slice_timing import at_frame_times


class AtFrameTimesd(MapTransform):
    """Bring every slice of a series (T, H, W, D) to the mean times of the frames, by lines between its samples.

    A case without ``data[times_key]``, a tensor (D, T) of times in s, stays as it is. For maximum intensity projections
    and for perfusion maps take the series before this: lines cut off peaks.

    Args:
        keys: the key of the series.
        times_key: the key of the times of the slices.
        allow_missing_keys: whether a case may lack the series.
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self, keys: KeysCollection = "image", allow_missing_keys: bool = False, times_key: str = "slice_times_s"
    ):
        super().__init__(keys, allow_missing_keys)
        self.times_key = times_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with its series at the times of the frames."""
        output = dict(data)
        if output.get(self.times_key) is None:
            return output
        times_s = torch.as_tensor(output[self.times_key])
        for key in self.key_iterator(output):
            series = convert_to_tensor(output[key], track_meta=False)
            output[key] = convert_to_dst_type(at_frame_times(series, times_s), output[key], dtype=torch.float32)[0]
        return output
