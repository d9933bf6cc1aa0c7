"""Frames in which the head left its slices are found, by movements of a head whose shape is a formula."""

import numpy as np
import pytest
import torch

from scripts.perfusion.frame_motion import MIN_FRAMES, frame_motion, kept_frames, longest_gap_s

from .curves import arterial_curve, tissue_curve
from .test_motion import FRAMES, moved, phantom

PIXEL_MM = 3.0
N_FRAMES = 30


def solid_head(z_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation and share of tissue (64, 64, Z) at heights: skull, brain, ventricles that change from slice to slice.

    The skull is a shell between ellipsoids; the ventricles are two horns that part and shrink upwards.
    """
    place = (np.arange(64) - 31.5) * PIXEL_MM
    x, y, z = np.meshgrid(place, place, z_mm, indexing="ij")
    radius = np.sqrt((x / 66) ** 2 + (y / 82) ** 2 + (z / 75) ** 2)
    hu = np.select([radius < 1, radius < 1.09, radius < 1.16], [34.0, 900.0, 40.0], -1000.0)
    white = np.sqrt((x / 50) ** 2 + (y / 64) ** 2 + (z / 60) ** 2) < 1
    hu[white & (radius < 1)] = 27
    for side in (-1, 1):
        horn = np.hypot((x - side * (12 + 0.3 * z)) / (10 - 0.1 * z), (y - 0.4 * z) / 26) < 1
        hu[horn & (radius < 1)] = 5
    return hu, (radius < 1) & (hu > 20)


def scan(shift_mm: np.ndarray, n_slices: int, slice_mm: float, noise_hu: float = 2.0) -> torch.Tensor:
    """A series (T, 64, 64, D) of the head, moved along D by so much in each frame; slices are means over 4 heights."""
    rng = np.random.default_rng(0)
    fine_mm = ((np.arange(4 * n_slices) + 0.5) / 4 - n_slices / 2) * slice_mm + 8
    tissue = tissue_curve("exponential", 60.0, 4.0, 0.5, 2.0, len(shift_mm))
    arterial = arterial_curve(np.arange(len(shift_mm)) * 2.0)
    frames = []
    for frame, shift in enumerate(shift_mm):
        hu, brain = solid_head(fine_mm - shift)
        hu = hu + tissue[frame] * brain
        hu[40:42, 30:32] += arterial[frame]
        frames.append(hu.reshape(64, 64, n_slices, 4).mean(axis=3))
    series = np.stack(frames) + noise_hu * rng.standard_normal((len(frames), 64, 64, n_slices))
    return torch.from_numpy(series).float()


@pytest.mark.parametrize(
    ("n_slices", "slice_mm", "share"),
    [(2, 10.0, 1.0), (2, 10.0, -1.0)]
    + [(n, mm, share) for n, mm in ((4, 8.0), (8, 5.0), (20, 1.0)) for share in (0.5, -0.5, 1.0, -1.0)],
)
def test_movement_through_the_plane_is_found(n_slices: int, slice_mm: float, share: float) -> None:
    thick_mm = max(slice_mm, 4.0)
    shift_mm = np.zeros(N_FRAMES)
    shift_mm[8:14] = share * thick_mm
    found = frame_motion(scan(shift_mm, n_slices, slice_mm), (PIXEL_MM, PIXEL_MM, slice_mm))
    assert found.through_plane_mm[8:14].numpy() / thick_mm == pytest.approx(share, abs=0.25)
    assert found.lost.numpy().tolist() == (shift_mm != 0).tolist()


@pytest.mark.parametrize(("n_slices", "slice_mm"), [(2, 10.0), (8, 5.0), (20, 1.0)])
def test_contrast_and_noise_are_no_movement(n_slices: int, slice_mm: float) -> None:
    found = frame_motion(scan(np.zeros(N_FRAMES), n_slices, slice_mm, noise_hu=8.0), (PIXEL_MM, PIXEL_MM, slice_mm))
    assert not found.lost.any()
    assert float(found.through_plane_mm.abs().max()) < 0.15 * max(slice_mm, 4.0)


def test_slices_rolled_by_one_are_lost_and_no_others() -> None:
    series, spacing_mm, _ = phantom()
    series[14:22] = series[14:22].roll(1, dims=3)
    found = frame_motion(series, spacing_mm)
    assert torch.nonzero(found.lost).squeeze(1).tolist() == list(range(14, 22))
    assert found.through_plane_mm[14:22].numpy() == pytest.approx(np.full(8, spacing_mm[2]), rel=0.35)


def test_movement_within_the_plane_is_told_apart() -> None:
    series, spacing_mm, _ = phantom()
    found = frame_motion(moved(series, (1.4, -1.4), 2.0, spacing_mm), spacing_mm)
    others = [frame for frame in range(len(series)) if frame not in FRAMES]
    assert found.in_plane_mm[list(FRAMES)].numpy() == pytest.approx(np.full(5, np.hypot(1.4, 1.4) + 2.44), abs=2)
    assert float(found.in_plane_mm[others].max()) < 2
    assert float(found.through_plane_mm.abs().max()) < 0.2 * spacing_mm[2]
    assert not frame_motion(moved(series, (1.4, -1.4), 2.0, spacing_mm), spacing_mm, np.inf).lost.any()


def test_frames_and_slices_without_an_image_are_lost() -> None:
    series = scan(np.zeros(N_FRAMES), 4, 8.0)
    series[5], series[9, ..., 2], series[20] = 0.0, -1024.0, float("nan")
    found = frame_motion(series, (PIXEL_MM, PIXEL_MM, 8.0))
    assert torch.nonzero(found.lost).squeeze(1).tolist() == [5, 9, 20]
    assert torch.isfinite(found.in_plane_mm).all()
    assert torch.isfinite(found.through_plane_mm).all()


def test_a_single_slice_tells_nothing_of_movement_through_it() -> None:
    found = frame_motion(scan(np.zeros(N_FRAMES), 4, 8.0)[..., 1:2], (PIXEL_MM, PIXEL_MM, 8.0))
    assert found.through_plane_mm.isnan().all()
    assert not found.lost.any()


def test_too_few_frames_left_is_an_error() -> None:
    lost = torch.ones(20, dtype=torch.bool)
    lost[:MIN_FRAMES] = False
    assert kept_frames(lost).tolist() == list(range(MIN_FRAMES))
    lost[0] = True
    with pytest.raises(ValueError, match="at least 10 frames .* got 9 of 20"):
        kept_frames(lost)


def test_the_longest_gap_counts_the_frames_that_bound_it() -> None:
    times_s = torch.arange(20.0) * 2
    lost = torch.zeros(20, dtype=torch.bool)
    assert longest_gap_s(lost, times_s, 10.0, 30.0) == 2
    lost[6:9] = True
    assert longest_gap_s(lost, times_s, 10.0, 30.0) == 8
    assert longest_gap_s(lost, times_s, 20.0, 30.0) == 2
    lost[14:] = True
    assert longest_gap_s(lost, times_s, 20.0, 36.0) == 10
