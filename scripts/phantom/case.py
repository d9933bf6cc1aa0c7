"""One simulated case, from the parameters of patient and scan to the arrays of the files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .acquisition import Series, simulate_series
from .anatomy import Anatomy, Deformation, build_anatomy
from .dwi import simulate_dwi
from .geometry import Grid
from .lesion import OCCLUSIONS, Stroke
from .maps import VendorMaps, compute_vendor_maps
from .parameters import FIELD_OF_VIEW_PIXELS, AcquisitionParameters, PatientParameters, ScanParameters, as_json
from .tissue import TissueState, build_tissue

_SLAB_Z_MM = 16.0  # template height of the middle of a usual slab: basal ganglia and ventricles
_SLAB_LIMITS_MM = (-5.0, 45.0)
_LESION_PULL = 0.85  # how far the slab is moved toward the lesion
_RATER_SMOOTHING_PX = 0.7
_SMALLEST_NOISE_HU = 2.0  # the range of clinical CTP ends here, whatever the matrix
_LARGEST_FLUID_SHARE = 0.75  # of a voxel that a rater still outlines


class PhantomCase(NamedTuple):
    """A case before it is written.

    Attributes:
        grid: voxels and affine of all volumes.
        series: the 4D CTP.
        maps: as the vendor delivers them.
        dwi: (H, W, D) float32.
        label: (H, W, D) bool, the lesion on DWI.
        truth: name to (H, W, D) array of the noise-free maps and masks.
        description: parameters and the true arterial curve, for JSON.
    """

    grid: Grid
    series: Series
    maps: VendorMaps
    dwi: NDArray[np.float32]
    label: NDArray[np.bool_]
    truth: dict[str, NDArray]
    description: dict[str, Any]


def sample_patient(seed: np.random.SeedSequence) -> PatientParameters:
    """Draw a patient from a seed."""
    return PatientParameters.sample(np.random.default_rng(seed), OCCLUSIONS)


def sample_scan(seed: np.random.SeedSequence) -> ScanParameters:
    """Draw a scan from a seed."""
    return ScanParameters.sample(np.random.default_rng(seed))


def scan_grid(scan: ScanParameters, deformation: Deformation, stroke: Stroke, matrix: int) -> Grid:
    """Place the slab around the usual height, moved toward the lesion, as a technician who suspects it does.

    A ``matrix`` other than 256 keeps the field of view, so the pixels scale.
    """
    parameters = scan.grid
    height_mm = _SLAB_Z_MM
    if stroke.core_center_mm is not None:
        height_mm += _LESION_PULL * (float(stroke.core_center_mm[2]) - _SLAB_Z_MM)
    height_mm = float(np.clip(height_mm + parameters.slab_jitter_mm, *_SLAB_LIMITS_MM))
    center_mm = deformation.world_mm(np.array([0.0, -18.0, height_mm]))
    pixel_mm = parameters.pixel_mm * FIELD_OF_VIEW_PIXELS / matrix
    return Grid.axial(
        shape=(matrix, matrix, parameters.n_slices),
        spacing_mm=(pixel_mm, pixel_mm, parameters.slice_spacing_mm),
        center_mm=(float(center_mm[0]), float(center_mm[1]), float(center_mm[2])),
        orientation=parameters.orientation,
        tilt_deg=parameters.tilt_deg,
    )


def simulate_case(
    patient: PatientParameters,
    scan: ScanParameters,
    matrix: int = FIELD_OF_VIEW_PIXELS,
    slice_offsets_s: NDArray[np.float64] | None = None,
) -> PhantomCase:
    """Simulate one scan of one patient.

    Args:
        patient: head, stroke and confounders.
        scan: pose, grid, bolus, noise, vendor and DWI.
        matrix: pixels along each side of a slice.
        slice_offsets_s: by how much slices are taken later than their frames, see `simulate_series`. The vendor's maps
            are computed as if they were not.

    Raises:
        ValueError: if ``matrix`` is below 16, or ``slice_offsets_s`` does not fit the slices.
    """
    if matrix < 16:
        raise ValueError(f"matrix must be at least 16, got {matrix}")
    deformation = Deformation(patient.subject, scan.pose)
    stroke = Stroke(patient.stroke)
    grid = scan_grid(scan, deformation, stroke, matrix)
    pixel_mm = float(grid.spacing_mm[0])
    anatomy = build_anatomy(grid, deformation, patient.subject)
    tissue = build_tissue(anatomy, patient, stroke)
    acquisition = _at_matrix(scan.acquisition, matrix)
    series = simulate_series(anatomy, tissue, patient.subject, scan.bolus, acquisition, pixel_mm, slice_offsets_s)
    maps = compute_vendor_maps(series, anatomy, scan.vendor, grid.spacing_mm)
    label = _outline(anatomy, tissue)
    return PhantomCase(
        grid=grid,
        series=series,
        maps=maps,
        dwi=simulate_dwi(anatomy, tissue, scan.dwi, pixel_mm),
        label=label,
        truth=_truth(anatomy, tissue, maps),
        description={
            "patient": as_json(patient),
            "scan": as_json(scan),
            "lesion_volume_ml": round(float(label.sum()) * grid.voxel_volume_ml, 4),
            "frame_times_s": [round(float(t), 4) for t in series.frame_times_s],
            "aif_hu": [round(float(value), 4) for value in series.clean_arterial_hu],
            "vendor_aif_hu": [round(float(value), 4) for value in maps.aif_hu],
        },
    )


def _at_matrix(acquisition: AcquisitionParameters, matrix: int) -> AcquisitionParameters:
    """The acquisition with its noise scaled to the pixel size: with the same photons, larger pixels are less noisy."""
    noise_hu = acquisition.noise_hu
    scaled_hu = max(noise_hu * matrix / FIELD_OF_VIEW_PIXELS, min(noise_hu, _SMALLEST_NOISE_HU))
    return replace(acquisition, noise_hu=scaled_hu)


def _outline(anatomy: Anatomy, tissue: TissueState) -> NDArray[np.bool_]:
    """The lesion as a rater outlines it on DWI: a smooth border at half height, without fluid."""
    lesion = tissue.on_grid(tissue.lesion, anatomy.brain.shape)
    smooth = ndimage.gaussian_filter(lesion, (_RATER_SMOOTHING_PX, _RATER_SMOOTHING_PX, 0.0))
    return (smooth > 0.5) & anatomy.brain & (anatomy.fluid < _LARGEST_FLUID_SHARE)


def _truth(anatomy: Anatomy, tissue: TissueState, maps: VendorMaps) -> dict[str, NDArray]:
    mtt_s = np.divide(60.0 * tissue.cbv, tissue.cbf, out=np.zeros_like(tissue.cbf), where=tissue.cbf > 0.1)
    values = {
        "cbf": tissue.cbf,
        "cbv": tissue.cbv,
        "mtt": mtt_s,
        "tmax": tissue.delay_s,
        "core": tissue.core,
        "penumbra": np.clip(tissue.starved - tissue.core, 0.0, 1.0),
        "old_infarct": tissue.old_infarct,
    }
    volumes: dict[str, NDArray] = {name: tissue.on_grid(value, anatomy.brain.shape) for name, value in values.items()}
    vessels = np.minimum(anatomy.artery + anatomy.vein, 1.0)
    return {**volumes, "vessels": vessels, "brain": anatomy.brain, "aif": maps.aif_mask}
