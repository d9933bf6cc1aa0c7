"""Movements made with scipy are found and undone."""

import math
from dataclasses import replace

import itk
import numpy as np
import pytest
import torch
from nibabel.affines import voxel_sizes
from scipy import ndimage

from scripts.perfusion import correct_motion, perfusion_maps
from scripts.perfusion.masked_grid import Spacing
from scripts.perfusion.motion import displacement_mm
from scripts.phantom.case import sample_patient, sample_scan, simulate_case
from scripts.phantom.parameters import GridParameters

from .head import SPACING_MM, head

FRAMES = (5, 12, 16, 20, 33)


def moved(
    series: torch.Tensor, shift_mm: tuple[float, float], angle_deg: float, spacing_mm: Spacing = SPACING_MM
) -> torch.Tensor:
    """The series with some frames shifted and turned about the image's centre, by cubic interpolation."""
    angle = math.radians(angle_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    centre = (np.array(series.shape[1:3]) - 1) / 2
    offset = centre - turn.T @ (centre + np.array(shift_mm) / spacing_mm[0])  # pixels are square
    result = series.clone()
    for frame in FRAMES:
        for index in range(series.shape[3]):
            plane = series[frame, :, :, index].numpy()
            result[frame, :, :, index] = torch.from_numpy(
                ndimage.affine_transform(plane, turn.T, offset, order=3, mode="nearest")
            )
    return result


def phantom() -> tuple[torch.Tensor, Spacing, float]:
    """Three slices of the phantom at rest, with 3 HU of noise; its anatomy has the edges that a real brain has."""
    scan = sample_scan(np.random.SeedSequence(12))
    acquisition = replace(
        scan.acquisition, n_frames=45, frame_interval_s=1.2, noise_hu=3.0, drift_mm=0.0, jerk_mm=0.0, jerk_deg=0.0
    )
    grid = GridParameters(3, 8.0, 0.9, "RAS", (0.0, 0.0, 0.0), 0.0)
    patient = sample_patient(np.random.SeedSequence(11))
    case = simulate_case(patient, replace(scan, grid=grid, acquisition=acquisition), 128)
    size = [float(value) for value in voxel_sizes(case.grid.affine)]
    return torch.from_numpy(case.series.hu).float(), (size[0], size[1], size[2]), 1.2


@pytest.mark.parametrize("stripped", [True, False])
@pytest.mark.parametrize(("shift_mm", "angle_deg"), [((2.0, 0.0), 0.0), ((0.0, -2.0), 2.0), ((1.4, 1.4), -2.0)])
def test_movement_is_found(stripped: bool, shift_mm: tuple[float, float], angle_deg: float) -> None:
    series = head(stripped)[0]
    _, motion = correct_motion(moved(series, shift_mm, angle_deg), SPACING_MM)
    assert motion[list(FRAMES), :2].numpy() == pytest.approx(np.tile(shift_mm, (5, 1)), abs=0.4)
    assert motion[list(FRAMES), 2].rad2deg().numpy() == pytest.approx(np.full(5, angle_deg), abs=0.4)
    others = [frame for frame in range(len(series)) if frame not in FRAMES]
    assert float(displacement_mm(motion[others]).max()) < 0.6


def itk_movement(reference: np.ndarray, frame: np.ndarray, spacing_mm: Spacing) -> list[float]:
    """Shift in mm and rotation in radians of a slice by ITK, which maximises mutual information."""
    kind = itk.Image[itk.F, 2]
    images = [itk.image_from_array(np.ascontiguousarray(plane.clip(-50, 120).T)) for plane in (reference, frame)]
    for image in images:
        image.SetSpacing(spacing_mm[:2])
    start = itk.Euler2DTransform[itk.D].New()
    start.SetCenter([(size - 1) * pixel / 2 for size, pixel in zip(reference.shape, spacing_mm, strict=False)])
    metric = itk.MattesMutualInformationImageToImageMetricv4[kind, kind].New(NumberOfHistogramBins=32)
    scales = itk.RegistrationParameterScalesFromPhysicalShift[type(metric)].New(Metric=metric)
    optimizer = itk.RegularStepGradientDescentOptimizerv4.New(
        LearningRate=1.0, MinimumStepLength=1e-3, NumberOfIterations=100, RelaxationFactor=0.6, ScalesEstimator=scales
    )
    registration = itk.ImageRegistrationMethodv4[kind, kind].New(
        FixedImage=images[0], MovingImage=images[1], Metric=metric, Optimizer=optimizer, InitialTransform=start
    )
    registration.SetNumberOfLevels(2)
    registration.SetShrinkFactorsPerLevel([4, 2])
    registration.SetSmoothingSigmasPerLevel([3, 1.5])
    registration.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    registration.Update()
    found = registration.GetTransform().GetParameters()
    return [found.GetElement(1), found.GetElement(2), found.GetElement(0)]


def test_movement_is_that_which_itk_finds() -> None:
    series, spacing_mm, _ = phantom()
    displaced = moved(series, (1.4, -1.4), 2.0, spacing_mm)
    _, motion = correct_motion(displaced, spacing_mm)
    usual, frame = displaced.median(dim=0).values[..., 1].numpy(), FRAMES[2]
    found = itk_movement(usual, displaced[frame, ..., 1].numpy(), spacing_mm)
    assert motion[frame].tolist() == pytest.approx(found, abs=0.25)
    assert math.degrees(motion[frame, 2]) == pytest.approx(math.degrees(found[2]), abs=0.3)


def test_correction_at_least_halves_what_movement_changes_in_the_flow() -> None:
    series, spacing_mm, dt_s = phantom()
    still, shaken, corrected = (
        perfusion_maps(frames, dt_s, spacing_mm, motion_correction=correction)
        for frames, correction in (
            (series, False),
            (moved(series, (1.4, -1.4), 2.0, spacing_mm), False),
            (moved(series, (1.4, -1.4), 2.0, spacing_mm), True),
        )
    )
    errors = [float((maps.cbf - still.cbf)[still.tissue].abs().mean()) for maps in (shaken, corrected)]
    assert errors[1] < 0.5 * errors[0]
    assert float(shaken.motion_mm.max()) > 3 * float(corrected.motion_mm.max())


def test_a_head_at_rest_is_left_alone() -> None:
    series = head(stripped=False)[0]
    corrected, motion = correct_motion(series, SPACING_MM)
    assert corrected is series
    assert not motion.any()


def test_order_in_memory_and_integers_change_nothing() -> None:
    series = moved(head(stripped=False, noise_hu=0.0)[0], (2.0, 1.0), 1.0)[:24].round()
    expected = correct_motion(series, SPACING_MM)[0]
    stored = series.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    assert torch.equal(correct_motion(stored, SPACING_MM)[0], expected)
    assert torch.allclose(correct_motion(series.short(), SPACING_MM)[0], expected, atol=1e-3)
