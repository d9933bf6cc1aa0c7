"""Padding for decoders, for sizes that pooling does not halve evenly."""

from torch import Tensor
from torch.nn import functional as F


def pad_to_size(x: Tensor, height: int, width: int) -> Tensor:
    """Pad ``x`` (N, C, h, w) with zeros at the lower right to (N, C, height, width), where it is smaller."""
    missing_h, missing_w = height - x.shape[2], width - x.shape[3]
    return F.pad(x, [0, missing_w, 0, missing_h]) if missing_h != 0 or missing_w != 0 else x
