"""The inner estimate keeps every tensor on the device of its inputs and reads none of their values.

Tensors of the `meta` device have no values: an operation that mixes them with one of the CPU raises, and so does one
that reads a value. What runs on them runs on a GPU without a copy or a wait.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scripts.perfusion import perfusion_maps
from scripts.perfusion.bayesian import BayesianEstimator, Posterior
from scripts.perfusion.filters import filter_coefficients
from scripts.perfusion.masked_grid import MaskedGrid

from .curves import arterial_curve
from .head import SPACING_MM, head

N_FRAMES, N_COMPONENTS, N_NOISE = 24, 5, 3
READ = ("_local_scalar_dense", "nonzero", "equal", "_unique2")  # operations whose result waits for values


class Reads(TorchDispatchMode):
    """Counts the operations that read values."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name == "index" and any(part is not None and part.dtype == torch.bool for part in args[1])
        if name in READ or masked:
            self.count[name] += 1
        return func(*args, **(kwargs or {}))


def inputs(device: str) -> tuple[MaskedGrid, dict[str, Tensor]]:
    """A grid and random coefficients on a device; the grid is found on the CPU, as its size depends on the mask."""
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(36), indexing="ij")
    mask = ((rows - 20) ** 2 + (columns - 18) ** 2 < 15**2)[..., None].expand(-1, -1, 3).contiguous()
    times_s = 1.5 * torch.arange(N_FRAMES)
    grid = MaskedGrid(mask)
    generator = torch.Generator().manual_seed(3)
    vectors, _ = torch.linalg.qr(torch.randn(N_FRAMES, N_COMPONENTS, generator=generator))
    tensors = {
        "values": torch.randn(N_COMPONENTS + N_NOISE, grid.count, generator=generator),
        "level": 30 + 3 * torch.randn(grid.count, generator=generator),
        "aif_hu": torch.from_numpy(arterial_curve(times_s.numpy())).float(),
        "times_s": times_s,
        "vectors": vectors,
        "outside_vessels": mask & (rows != 20)[..., None],
    }
    return grid.to(device), {name: tensor.to(device) for name, tensor in tensors.items()}


def inner_estimate(grid: MaskedGrid, given: dict[str, Tensor]) -> tuple[Posterior, Tensor]:
    """From gathered coefficients to the posterior and back onto the grid."""
    basis = (0.05 * given["aif_hu"], given["vectors"])
    coefficients, noise_hu = filter_coefficients(
        given["values"], given["level"], basis, grid, given["outside_vessels"], 3.5, SPACING_MM
    )
    estimator = BayesianEstimator(given["aif_hu"], given["times_s"])
    estimator.fit_shapes(coefficients, basis, noise_hu)
    found = estimator.from_basis(coefficients, basis, noise_hu)
    delay = grid.smooth(found.tmax[None], 2.0, SPACING_MM, given["outside_vessels"])[0]
    return found, grid.volume(torch.stack([*found._replace(tmax=delay)]))


def test_the_inner_estimate_runs_without_values() -> None:
    grid, given = inputs("meta")
    found, volumes = inner_estimate(grid, given)
    assert volumes.device.type == "meta"
    assert volumes.shape == (len(found), 40, 36, 3)
    assert all(part.device.type == "meta" and part.shape == (grid.count,) for part in found)


@pytest.mark.parametrize("left", ["values", "level", "aif_hu", "times_s", "vectors", "outside_vessels"])
def test_a_tensor_left_on_the_cpu_raises(left: str) -> None:
    grid, given = inputs("meta")
    given[left] = inputs("cpu")[1][left]
    if left == "times_s":  # the estimator brings the times to the arterial curve
        inner_estimate(grid, given)
        return
    with pytest.raises(RuntimeError):
        inner_estimate(grid, given)


def test_the_inner_estimate_reads_no_value() -> None:
    given = inputs("cpu")
    with Reads() as reads:
        _, volumes = inner_estimate(*given)
    assert not reads.count
    assert torch.isfinite(volumes).all()


def test_what_the_whole_reads_does_not_grow_with_the_slices() -> None:
    counts = []
    for repeats in (1, 3):
        series = head(stripped=True, noise_hu=2.0)[0].repeat(1, 1, 1, repeats)
        with Reads() as reads:
            perfusion_maps(series, 1.0, SPACING_MM)
        counts.append(sum(reads.count.values()))
    assert counts[1] < 1.2 * counts[0]
    assert max(counts) < 500  # 412; most are in the correction of motion
