"""From the network's channels to the images that a reader wants."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform

from ..io.errors import CaseError


class SplitPredictiond(MapTransform):
    """Split a prediction (2 or 3, H, W, D) into the lesion's probability and the pseudo-DWI.

    Channels 0 and 1 are the logits of background and lesion, Eq. 10 of Wang et al. 2020; channel 2, where the network
    synthesizes one, is the pseudo-DWI of Eq. 5. ``keys`` then holds the probability (1, H, W, D) and
    ``pseudo_dwi_key`` the pseudo-DWI (1, H, W, D).

    Raises:
        ValueError: the prediction has neither 2 nor 3 channels.
        CaseError: it is not finite. A probability of NaN is not above any threshold, and would be a lesion of 0 ml.
    """

    def __init__(self, keys: str = "pred", pseudo_dwi_key: str = "pseudo_dwi", allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.pseudo_dwi_key = pseudo_dwi_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the parts in the place of the whole."""
        output = dict(data)
        for key in self.key_iterator(output):
            prediction = output[key]
            if len(prediction) not in (2, 3):
                raise ValueError(f"{key}: expected 2 or 3 channels, got shape {tuple(prediction.shape)}")
            wrong = prediction.numel() - int(torch.isfinite(prediction).sum())
            if wrong:
                got = f"{wrong} NaN or infinite of {prediction.numel()}: are the weights damaged?"
                raise CaseError.of(str(data.get("case", "?")), str(key), None, "finite output of the network", got)
            output[key] = torch.softmax(prediction[:2].float(), dim=0)[1:]
            if len(prediction) == 3:
                output[self.pseudo_dwi_key] = prediction[2:].float()
        return output
