"""Quantiles against numpy's, of few values exactly and of very many nearly."""

import numpy as np
import pytest
import torch

from scripts.perfusion.filters import quantiles

SHARES = (0.01, 0.5, 0.98)


@pytest.mark.parametrize(("count", "tolerance"), [(1, 1e-6), (1001, 1e-5), (2**21 + 3, 1e-2)])
def test_quantiles_are_those_of_numpy(count: int, tolerance: float) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(0))
    assert quantiles(values, SHARES).numpy() == pytest.approx(np.quantile(values.numpy(), SHARES), abs=tolerance)
