"""The lesion attention map A of Wang et al. 2020, Eq. 9."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type
from scipy.ndimage import distance_transform_edt


class LesionAttentionMap(Transform):
    """Weigh every pixel by its closeness to the lesion (Wang et al. 2020, Eq. 9).

    A = w inside the lesion F, else 0.5 + e / (e + 1) with e = exp(-Eud(i, F) / D). Outside the lesion the weight falls
    from almost 1 at its border to 0.5 far away; a slice without a lesion has A = 0.5, the limit of infinite distance.
    Distances are taken within the slice, since slices are 4 to 12 mm apart.

    Args:
        lesion_weight: w, at least 1 (1.5 in the paper).
        decay_pixels: D, in pixels, above 0 (50 in the paper).
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, lesion_weight: float = 1.5, decay_pixels: float = 50.0):
        if lesion_weight < 1:
            raise ValueError(f"lesion_weight: expected at least 1, got {lesion_weight}")
        if decay_pixels <= 0:
            raise ValueError(f"decay_pixels: expected above 0, got {decay_pixels}")
        self.lesion_weight = lesion_weight
        self.decay_pixels = decay_pixels

    def __call__(self, label: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return A, float32, for a lesion mask of shape (1, H, W) or (1, H, W, D)."""
        if label.ndim not in (3, 4) or len(label) != 1:
            raise ValueError(f"label: expected shape (1, H, W) or (1, H, W, D), got {tuple(label.shape)}")
        lesion = convert_data_type(label, np.ndarray)[0][0] > 0.5
        slices = lesion[..., None] if lesion.ndim == 2 else lesion
        attention = np.full(slices.shape, 0.5, dtype=np.float32)
        for index in np.flatnonzero(slices.any(axis=(0, 1))):
            closeness = np.exp(-distance_transform_edt(~slices[..., index]) / self.decay_pixels)
            attention[..., index] = np.where(slices[..., index], self.lesion_weight, 0.5 + closeness / (closeness + 1))
        return convert_to_dst_type(attention.reshape(label.shape), label, dtype=np.float32)[0]


class LesionAttentionMapd(MapTransform):
    """Dictionary version of :class:`LesionAttentionMap`: writes the map of ``keys`` to ``output_key``."""

    backend = LesionAttentionMap.backend

    def __init__(
        self,
        keys: KeysCollection = "label",
        output_key: str = "attention",
        lesion_weight: float = 1.5,
        decay_pixels: float = 50.0,
        allow_missing_keys: bool = False,
    ):
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ValueError(f"keys: expected the one key of the lesion mask, got {self.keys}")
        self.output_key = output_key
        self.attention = LesionAttentionMap(lesion_weight, decay_pixels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the map to a copy of ``data``."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[self.output_key] = self.attention(output[key])
        return output
