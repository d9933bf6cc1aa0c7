"""Rigid registration of a series to a reference, such as the non-contrast CT, with the number that says if it helped.

Headers of ISLES'24 put some series millimeters to centimeters away from their non-contrast CT.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .resample import onto_grid

WINDOW_HU = (-100.0, 300.0)
"""Brain, ventricles and the inner edge of the skull; the rest counts as its limits."""

_BINS = 32
_COARSE_MM = 8.0
_HEAD_RADIUS_MM = 40.0  # so far from the center a rotation counts as much as the shift that it makes
_SHIFTS_MM = (np.arange(-24, 25, 12), np.arange(-24, 25, 12), np.arange(-40, 41, 8))
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Refinement(NamedTuple):
    """How a reference lies to a series."""

    matrix: NDArray[np.float64]
    """(4, 4), from mm in the space of the series to that of the reference, RAS+; identity where nothing helped."""
    before: float
    """Mutual information of series and reference by their headers, nats."""
    after: float
    """The same after registration; not kept where it is not higher."""

    @property
    def kept(self) -> bool:
        """Whether the registration is better than the headers."""
        return self.after > self.before

    def as_json(self) -> dict[str, Any]:
        """What `prepared.json` records."""
        return {
            "mutual_information": [round(self.before, 4), round(self.after, 4)],
            "kept": self.kept,
            "series_to_reference": self.matrix.tolist(),
        }


def refine(frame: NDArray, affine: NDArray, reference: NDArray, reference_affine: NDArray) -> Refinement:
    """Register a frame of a series to a reference, by shifts and rotations (ITK, Mattes mutual information).

    The start is the best of shifts in steps of 8 to 12 mm.

    Args:
        frame: (H, W, D) HU, of the series.
        affine: (4, 4) of `frame`.
        reference: (H, W, D) HU.
        reference_affine: (4, 4) of `reference`.
    """
    frame, reference = (np.clip(image, *WINDOW_HU).astype(np.float32) for image in (frame, reference))
    before = mutual_information(frame, affine, reference, reference_affine)
    if not (np.ptp(frame) and np.ptp(reference)):  # nothing to compare, which ITK refuses
        return Refinement(np.eye(4), before, before)
    start = _best_shift(frame, affine, reference, reference_affine)
    matrix = _registered(frame, affine, reference, reference_affine, start)
    after = mutual_information(frame, matrix @ affine, reference, reference_affine)
    return Refinement(matrix if after > before else np.eye(4), before, after)


def mutual_information(frame: NDArray, affine: NDArray, reference: NDArray, reference_affine: NDArray) -> float:
    """Mutual information in nats of two images in `WINDOW_HU`, on the grid of the first, around the second is air."""
    low = WINDOW_HU[0]
    other = low + onto_grid(reference - low, reference_affine, frame.shape, affine)
    joint = np.histogram2d(frame.ravel(), other.ravel(), bins=_BINS, range=(WINDOW_HU, WINDOW_HU))[0]
    joint /= joint.sum()
    product_of_both = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / product_of_both[seen])).sum())


def _best_shift(frame: NDArray, affine: NDArray, reference: NDArray, reference_affine: NDArray) -> NDArray[np.float64]:
    """The shift in mm with the highest mutual information on a coarse grid."""
    frame, affine = _thinned(frame, affine)
    reference, reference_affine = _thinned(reference, reference_affine)
    best, best_mm = -1.0, np.zeros(3)
    for shift_mm in sorted(product(*_SHIFTS_MM), key=np.linalg.norm):
        moved = np.array(affine)
        moved[:3, 3] += shift_mm
        value = mutual_information(frame, moved, reference, reference_affine)
        if value > best:
            best, best_mm = value, np.array(shift_mm, dtype=float)
    return best_mm


def _thinned(image: NDArray, affine: NDArray) -> tuple[NDArray, NDArray]:
    """Means over blocks of about `_COARSE_MM`."""
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    step = np.clip(np.round(_COARSE_MM / spacing_mm).astype(int), 1, image.shape)
    size = np.array(image.shape) // step
    cropped = image[tuple(slice(0, n) for n in size * step)]
    blocks = cropped.reshape(size[0], step[0], size[1], step[1], size[2], step[2]).mean(axis=(1, 3, 5))
    grid = affine @ np.diag([*step, 1.0])
    grid[:3, 3] = (affine @ [*((step - 1) / 2), 1.0])[:3]
    return blocks.astype(np.float32), grid


def _registered(
    frame: NDArray, affine: NDArray, reference: NDArray, reference_affine: NDArray, start_mm: NDArray
) -> NDArray[np.float64]:
    import itk  # takes seconds

    fixed, moving = _itk_image(itk, frame, affine), _itk_image(itk, reference, reference_affine)
    kind = type(fixed)
    transform = itk.Euler3DTransform[itk.D].New()
    center = _LPS @ affine @ [*((np.array(frame.shape) - 1) / 2), 1.0]
    transform.SetCenter(center[:3].tolist())
    transform.SetTranslation((_LPS[:3, :3] @ start_mm).tolist())
    metric = itk.MattesMutualInformationImageToImageMetricv4[kind, kind].New()
    metric.SetNumberOfHistogramBins(_BINS)
    optimizer = itk.RegularStepGradientDescentOptimizerv4[itk.D].New()
    optimizer.SetNumberOfIterations(200)
    optimizer.SetLearningRate(2.0)
    optimizer.SetMinimumStepLength(0.002)
    optimizer.SetRelaxationFactor(0.8)
    scales = itk.OptimizerParameters[itk.D](6)
    for index, scale in enumerate([_HEAD_RADIUS_MM**2] * 3 + [1.0] * 3):
        scales.SetElement(index, scale)
    optimizer.SetScales(scales)
    method = itk.ImageRegistrationMethodv4[kind, kind].New(
        fixed_image=fixed, moving_image=moving, metric=metric, optimizer=optimizer, initial_transform=transform
    )
    method.InPlaceOn()
    method.SetNumberOfLevels(3)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.Update()
    matrix = np.eye(4)
    matrix[:3, :3] = itk.array_from_matrix(transform.GetMatrix())
    matrix[:3, 3] = list(transform.GetOffset())
    return _LPS @ matrix @ _LPS


def _itk_image(itk: Any, array: NDArray, affine: NDArray) -> Any:
    """An image of ITK, whose space is LPS."""
    image = itk.image_from_array(np.ascontiguousarray(array.T, dtype=np.float32))
    lps = _LPS @ affine
    spacing_mm = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing_mm.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing_mm))
    return image
