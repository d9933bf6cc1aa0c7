"""Pixels of half the usual size give the same volumes, on pixels of any number and any shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from scripts.perfusion import PerfusionVolumes, Reading, in_plane, perfusion_maps, read_maps
from scripts.perfusion.in_plane import InPlaneGrid
from scripts.perfusion.masked_grid import Spacing

from .curves import arterial_curve, tissue_curve

FINE_MM, SLICE_MM, N_SLICES, N_FRAMES = 0.45, 8.0, 2, 45
RADII_MM = (38.0, 46.0)
EXTENT_MM = (86.4, 102.6)


def scene(pixel_mm: float, shape: tuple[int, int] | None = None) -> tuple[Tensor, Spacing]:
    """A brain (T, H, W, D) with penumbra and a core on the side of small H, sampled at the middle of each pixel.

    Its noise, 2 HU, has the same spectrum in mm for every pixel size.
    """
    rows, columns = shape or tuple(round(size_mm / pixel_mm) for size_mm in EXTENT_MM)
    h, w = np.meshgrid(
        (np.arange(rows) - (rows - 1) / 2) * pixel_mm,
        (np.arange(columns) - (columns - 1) / 2) * pixel_mm,
        indexing="ij",
    )
    scale, time_s = 1.04 / 0.733, np.arange(N_FRAMES, dtype=float)
    series = np.zeros((N_FRAMES, rows, columns))
    tissues = (
        (np.hypot(h / RADII_MM[0], w / RADII_MM[1]) < 1, (50.0, 4.0, 0.5)),
        ((np.hypot(h / RADII_MM[0], w / RADII_MM[1]) < 1) & (h < -10), (20.0, 9.0, 8.0)),
        (np.hypot(h + 21, w) < 9, (5.0, 10.0, 9.0)),
    )
    for inside, (cbf, mtt_s, delay_s) in tissues:
        curve = 34 + scale * tissue_curve("exponential", cbf, mtt_s, delay_s, 1.0, N_FRAMES)
        series[:, inside] = curve[:, None]
    series[:, np.hypot(h - 6, w - 25) < 2.2] = 45 + arterial_curve(time_s)[:, None]
    series[:, np.hypot(h, w + 38) < 3.6] = 45 + arterial_curve(time_s - 5)[:, None]
    noise = np.random.default_rng(4).standard_normal((N_FRAMES, N_SLICES, rows, columns))
    noise = ndimage.gaussian_filter(noise, (0, 0, 0.5 / pixel_mm, 0.5 / pixel_mm))
    series += (series[0] > 0) * 5 * np.sin(h / 3) * np.sin(w / 4)  # gray and white matter
    series = series[..., None] + np.moveaxis(noise, 1, -1) * (series[0] > 0)[..., None] * 2 / noise.std()
    return torch.from_numpy(series).float(), (pixel_mm, pixel_mm, SLICE_MM)


def reading(maps: PerfusionVolumes, spacing_mm: Spacing) -> Reading:
    affine = torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64))
    affine[0, 3] = -spacing_mm[0] * (maps.cbf.shape[0] - 1) / 2
    return read_maps(maps.cbf, maps.cbv, maps.tmax, maps.tissue, affine, spacing_mm)[0]


def test_volumes_are_those_of_fine_and_of_large_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    series, spacing_mm = scene(FINE_MM)
    found = reading(perfusion_maps(series, 1.0, spacing_mm), spacing_mm)
    usual, usual_mm = scene(2 * FINE_MM)
    expected = [reading(perfusion_maps(usual, 1.0, usual_mm), usual_mm)]
    monkeypatch.setattr(in_plane, "RESOLVED_MM", FINE_MM)  # the estimate on the pixels of the series
    expected.append(reading(perfusion_maps(series, 1.0, spacing_mm), spacing_mm))
    assert found.side == "left"
    for other in expected:
        assert found.core_ml == pytest.approx(other.core_ml, abs=1.5)
        assert found.tmax_ml["6"] == pytest.approx(other.tmax_ml["6"], rel=0.08)
        assert found.reference_cbf == pytest.approx(other.reference_cbf, rel=0.1)
    assert found.core_ml == pytest.approx(np.pi * 9**2 * N_SLICES * SLICE_MM / 1000, abs=2.5)
    assert found.tmax_ml["6"] == pytest.approx(29.5, rel=0.2)  # what the scene holds, counted on its pixels


def test_odd_sizes_and_what_is_given_on_fine_pixels() -> None:
    series, spacing_mm = scene(FINE_MM, (191, 227))
    rows, columns = np.indices((191, 227))
    brain = np.hypot((rows - 95) * FINE_MM / 37, (columns - 113) * FINE_MM / 45) < 1
    given = torch.from_numpy(np.repeat(brain[..., None], N_SLICES, axis=2))
    row, column = 95 + round(6 / FINE_MM), 113 + round(25 / FINE_MM)  # the middle of the artery
    maps = perfusion_maps(series, 1.0, spacing_mm, brain=given, aif=(row, column, 0), motion_correction=False)
    for name in ("cbf", "cbv", "mtt", "tmax", "ttp", "cbf_sd", "tmax_sd", "baseline", "brain", "tissue"):
        assert getattr(maps, name).shape == (191, 227, N_SLICES), name
    assert torch.equal(maps.brain, given)
    assert not (maps.tissue & ~given).any()
    assert not maps.cbf[~given].any()
    first = row // 2 * 2, column // 2 * 2
    voxels = {(first[0] + i, first[1] + j, 0) for i in (0, 1) for j in (0, 1)}
    assert {tuple(voxel) for voxel in torch.nonzero(maps.arterial.aif_mask).tolist()} == voxels
    curve = series[:, first[0] : first[0] + 2, first[1] : first[1] + 2, 0].mean(dim=(1, 2))
    enhancement = curve - curve[: maps.n_baseline].mean()
    assert torch.allclose(maps.arterial.aif_hu, enhancement.clamp_min(0), atol=1e-3)
    mask = torch.zeros_like(given)
    mask[row, column, 0] = True
    same = perfusion_maps(series, 1.0, spacing_mm, brain=given, aif=mask, motion_correction=False)
    assert torch.equal(same.cbf, maps.cbf)


@pytest.mark.parametrize("shape", [(8, 6), (9, 7), (11, 12)])
@pytest.mark.parametrize("size_mm", [(0.45, 0.45), (0.45, 0.9), (0.3, 0.45), (0.9, 0.3)])
def test_groups_are_means(shape: tuple[int, int], size_mm: tuple[float, float]) -> None:
    grid = InPlaneGrid(shape, (*size_mm, 5.0))
    assert grid.factor == tuple(round(0.9 / mm) for mm in size_mm)
    series = torch.from_numpy(np.random.default_rng(0).standard_normal((5, *shape, 2))).float()
    stored = series.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    found = grid.reduced(series)
    assert torch.equal(grid.reduced(stored), found)
    for row in range(found.shape[1]):
        for column in range(found.shape[2]):
            group = series[
                :,
                row * grid.factor[0] : (row + 1) * grid.factor[0],
                column * grid.factor[1] : (column + 1) * grid.factor[1],
            ]
            assert torch.allclose(found[:, row, column], group.mean(dim=(1, 2)), atol=1e-6)
    assert found.shape[1:3] == tuple(-(-count // factor) for count, factor in zip(shape, grid.factor, strict=True))


@pytest.mark.parametrize("factor", [(2, 2), (2, 1), (3, 2)])
def test_the_way_back_keeps_a_slope(factor: tuple[int, int]) -> None:
    grid = InPlaneGrid((24, 18), (0.9 / factor[0], 0.9 / factor[1], 5.0))
    slope = 2.0 * torch.arange(24.0)[:, None] - torch.arange(18.0) + torch.zeros(24, 18)
    back = grid._interpolated(grid.reduced(slope[None, ..., None])[0])[..., 0]
    inner = (slice(factor[0], -factor[0]), slice(factor[1], -factor[1]))
    assert torch.allclose(back[inner], slope[inner], atol=1e-4)
