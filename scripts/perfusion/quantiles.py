"""Quantiles of many values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MOST_VALUES = 2**20  # that a quantile needs; PyTorch sorts them, and takes no more than 2**24


def quantiles(values: Tensor, shares: Sequence[float]) -> Tensor:
    """Quantiles (S,) of values (N,), at least one, at shares from 0 to 1; of every so manyth value where N is large.

    Values that are NaN do not count.
    """
    sample = values[:: -(-len(values) // _MOST_VALUES)]
    return torch.nanquantile(sample, sample.new_tensor(shares))
