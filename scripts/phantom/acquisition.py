"""The CT scanner: attenuation of the head, contrast passage, motion, noise and quantization to HU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .anatomy import Anatomy
from .fields import SmoothField, correlated_noise
from .hemodynamics import CurveTable
from .parameters import AcquisitionParameters, BolusParameters, SubjectParameters
from .tissue import TissueState

AIR_HU = -1000.0
SCALP_HU = 35.0  # skin and muscle
FAT_HU = -90.0  # subcutaneous fat
BLOOD_HU = 45.0  # unenhanced, at a hematocrit of 0.45
_SMALLEST_MOTION_PX = 0.02
_SMALLEST_VESSEL = 0.02
_BRIDGE_DELAY_S = 0.7  # of the delay of tissue reaches the artery that feeds it


class Series(NamedTuple):
    """A simulated 4D scan.

    Attributes:
        hu: (T, H, W, D) int16, as stored by the scanner.
        clean_arterial_hu: (T,) enhancement of a large artery without noise or partial volume.
        frame_times_s: (T,) seconds from the start of the injection clock.
        blood: (H, W, D) float32 fraction of arterial blood, the candidates for an arterial input function.
    """

    hu: NDArray[np.int16]
    clean_arterial_hu: NDArray[np.float32]
    frame_times_s: NDArray[np.float64]
    blood: NDArray[np.float32]


def frame_times_s(acquisition: AcquisitionParameters) -> NDArray[np.float64]:
    """Times of the frames, (T,)."""
    return np.arange(acquisition.n_frames, dtype=float) * acquisition.frame_interval_s


def baseline_hu(
    anatomy: Anatomy, tissue: TissueState, subject: SubjectParameters, acquisition: AcquisitionParameters
) -> NDArray[np.float32]:
    """Attenuation before contrast, (H, W, D) in HU: brain, fluid, skull with diploe, scalp and air; or brain alone."""
    inside = tissue.on_grid(tissue.attenuation_hu, anatomy.brain.shape, background=subject.fluid_hu)
    blood = np.clip(anatomy.artery + anatomy.vein, 0.0, 1.0)
    inside += blood * (BLOOD_HU - inside)
    distance_mm = np.minimum(anatomy.outside_mm, 0.0)
    inside += acquisition.cupping_hu * np.exp(distance_mm / 15.0)
    if acquisition.skull_stripped:
        return np.where(anatomy.brain, inside, 0.0).astype(np.float32)
    return _with_head_layers(inside, anatomy, subject)


def _with_head_layers(inside: NDArray[np.float32], anatomy: Anatomy, subject: SubjectParameters) -> NDArray[np.float32]:
    rng = np.random.default_rng(subject.texture_seed + 1)
    outside_mm = anatomy.outside_mm
    near = (outside_mm > -3.0) & (outside_mm < 40.0)
    points_mm = anatomy.mni_mm[near]
    d = outside_mm[near]
    thickness_mm = subject.skull_thickness_mm * (1.0 + 0.22 * np.tanh(SmoothField.sample(rng, 35.0)(points_mm)))
    scalp_mm = subject.scalp_thickness_mm * (1.0 + 0.3 * np.tanh(SmoothField.sample(rng, 40.0)(points_mm)))
    depth = (d - subject.skull_gap_mm) / thickness_mm  # 0 at the inner table, 1 at the outer
    bone_hu = subject.skull_hu * (1.0 - 0.55 * np.exp(-(((depth - 0.5) / 0.22) ** 2)))
    beyond_mm = d - subject.skull_gap_mm - thickness_mm
    soft_hu = np.where((beyond_mm > 0.25 * scalp_mm) & (beyond_mm < 0.75 * scalp_mm), FAT_HU, SCALP_HU)
    hu = inside[near]
    for value, border_mm in (
        (bone_hu, d - subject.skull_gap_mm),
        (soft_hu, beyond_mm),
        (np.float32(AIR_HU), beyond_mm - scalp_mm),
    ):
        share = np.clip(border_mm + 0.5, 0.0, 1.0)
        hu = hu + share * (value - hu)
    head = np.where(outside_mm >= 40.0, np.float32(AIR_HU), inside)
    head[near] = hu
    return head.astype(np.float32)


def simulate_series(
    anatomy: Anatomy,
    tissue: TissueState,
    subject: SubjectParameters,
    bolus: BolusParameters,
    acquisition: AcquisitionParameters,
    pixel_mm: float,
    slice_offsets_s: NDArray[np.float64] | None = None,
) -> Series:
    """Scan the head.

    Args:
        anatomy: where tissue and vessels are.
        tissue: their true perfusion.
        subject: attenuation and layers of the head.
        bolus: injection and residue function.
        acquisition: frames, motion and noise.
        pixel_mm: in-plane voxel size.
        slice_offsets_s: (D,) or (D, T), by how much each slice is taken later than its frame, for a table that moves or
            positions that alternate; None if the slices of a frame are taken at once.

    Raises:
        ValueError: ``slice_offsets_s`` has another number of slices.
    """
    times_s = frame_times_s(acquisition)
    static = baseline_hu(anatomy, tissue, subject, acquisition)
    n_frames, shape = len(times_s), anatomy.brain.shape
    frames = np.empty((n_frames, *shape), dtype=np.float32)
    frames[:] = static
    longest_s, stripped = float(tissue.delay_s.max(initial=0.0)), acquisition.skull_stripped
    if slice_offsets_s is None:
        table = CurveTable.build(bolus, times_s, longest_s)
        _add_contrast(frames.reshape(n_frames, -1), anatomy, tissue, table, stripped)
    else:
        for slices, own_s in _slices_by_times(times_s, slice_offsets_s, shape[2]):
            own = frames.copy()
            table = CurveTable.build(bolus, own_s, longest_s)
            _add_contrast(own.reshape(n_frames, -1), anatomy, tissue, table, stripped)
            frames[..., slices] = own[..., slices]
    rng = np.random.default_rng(acquisition.noise_seed)
    _move(frames, acquisition, pixel_mm, rng)
    _add_noise(frames, anatomy, acquisition, rng)
    if acquisition.skull_stripped:
        frames *= anatomy.brain
    hu = np.clip(np.rint(frames, out=frames), -1024, 3071).astype(np.int16)
    return Series(hu, table.artery[0], times_s, anatomy.artery)


def _slices_by_times(
    times_s: NDArray[np.float64], offsets_s: NDArray[np.float64], n_slices: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Indices of the slices that share their times, and these (T,)."""
    if len(offsets_s) != n_slices:
        raise ValueError(f"slice_offsets_s must have {n_slices} slices, got shape {offsets_s.shape}")
    own_s = times_s + np.asarray(offsets_s, dtype=float).reshape(n_slices, -1)
    shared, of_slice = np.unique(own_s, axis=0, return_inverse=True)
    for index, row in enumerate(shared):
        yield np.flatnonzero(of_slice.reshape(-1) == index), row


def _add_contrast(
    frames: NDArray[np.float32], anatomy: Anatomy, tissue: TissueState, table: CurveTable, stripped: bool
) -> None:
    """Add tissue and vessel enhancement to (T, V) frames in place."""
    delay_s = np.zeros(frames.shape[1], dtype=np.float32)
    delay_s[tissue.voxels] = np.maximum(tissue.delay_s - 0.6, 0.0)
    blood = np.zeros(frames.shape[1], dtype=np.float32)
    for kind, fraction in (("artery", anatomy.artery), ("vein", anatomy.vein)):
        share = fraction.reshape(-1)
        voxels = np.flatnonzero((share > _SMALLEST_VESSEL) & (anatomy.brain.reshape(-1) | (not stripped)))
        lag_s = delay_s[voxels] * (_BRIDGE_DELAY_S if kind == "artery" else 0.3)
        frames[:, voxels] += (table.vessel_curves(lag_s, kind) * share[voxels, None]).T
        blood[voxels] += share[voxels]
    room = np.clip(1.0 - blood[tissue.voxels], 0.0, 1.0)
    perfused = np.flatnonzero(tissue.cbf * room > 0.1)
    curves = table.tissue_curves((tissue.cbf * room)[perfused], (tissue.cbv * room)[perfused], tissue.delay_s[perfused])
    frames[:, tissue.voxels[perfused]] += curves.T


def _move(
    frames: NDArray[np.float32], acquisition: AcquisitionParameters, pixel_mm: float, rng: np.random.Generator
) -> None:
    """Displace frames rigidly in the plane: a slow drift, and a sudden step at one random frame."""
    n_frames, height, width, depth = frames.shape
    drift = np.cumsum(rng.standard_normal((n_frames, 2)), axis=0) * acquisition.drift_mm / np.sqrt(n_frames)
    angle_deg = np.cumsum(rng.standard_normal(n_frames)) * 0.2 * acquisition.drift_mm / np.sqrt(n_frames)
    start, length = int(rng.integers(2, n_frames)), int(rng.integers(2, 12))
    direction = rng.uniform(0.0, 2 * np.pi)
    drift[start : start + length] += acquisition.jerk_mm * np.array([np.cos(direction), np.sin(direction)])
    angle_deg[start : start + length] += acquisition.jerk_deg * rng.choice([-1.0, 1.0])
    shift_px = drift / pixel_mm
    reach_px = np.abs(shift_px).max(axis=1) + np.deg2rad(np.abs(angle_deg)) * 80.0 / pixel_mm
    for frame in np.flatnonzero(reach_px > _SMALLEST_MOTION_PX):
        frames[frame] = _rigid(frames[frame], shift_px[frame], float(np.deg2rad(angle_deg[frame])))


def _rigid(image: NDArray[np.float32], shift_px: NDArray[np.float64], angle_rad: float) -> NDArray[np.float32]:
    """Rotate (H, W, D) about the center of the plane and shift it, with bilinear interpolation."""
    height, width = image.shape[:2]
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    # affine_grid counts (x, y) = (columns, rows) in units of half the width and half the height.
    theta = torch.tensor(
        [
            [cos, -sin * height / width, -2.0 * shift_px[1] / width],
            [sin * width / height, cos, -2.0 * shift_px[0] / height],
        ],
        dtype=torch.float32,
    )
    channels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    grid = torch.nn.functional.affine_grid(theta[None], [1, 1, height, width], align_corners=False)
    moved = torch.nn.functional.grid_sample(channels, grid, padding_mode="border", align_corners=False)
    return moved[0].numpy().transpose(1, 2, 0)


def _add_noise(
    frames: NDArray[np.float32], anatomy: Anatomy, acquisition: AcquisitionParameters, rng: np.random.Generator
) -> None:
    """Add quantum noise, stronger in the center of the head, where more of the beam is absorbed."""
    distance_mm = np.clip(anatomy.outside_mm, -60.0, 20.0)
    profile = np.float32(acquisition.noise_hu) * (0.85 - 0.0035 * distance_mm)
    for frame in frames:
        frame += correlated_noise(frame.shape, acquisition.noise_correlation_px, rng) * profile
