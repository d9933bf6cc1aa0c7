"""A CT-perfusion series as it was found in DICOM: attenuation, place, times, and what results must refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset


class Instance(NamedTuple):
    """An object that the series was read from."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str


@dataclass(frozen=True)
class SourceSeries:
    """What results take from their source: patient, study, frame of reference, and references to its objects."""

    headers: tuple[Dataset, ...]
    """Headers without pixels: of classic CT the first instance of each slice, in the order of the slices of
    `PerfusionSeries.hu`; of enhanced CT the multi-frame objects."""
    instances: tuple[Instance, ...]
    """Every object that was used."""
    chosen: str
    """In one line: which series it is, without anything that identifies the patient, and why it was chosen."""


@dataclass(frozen=True)
class PerfusionSeries:
    """Attenuation over space and time."""

    hu: NDArray[np.int16] | NDArray[np.float32]
    """(columns, rows, slices, frames), HU: the first axis goes along a row of the image, as in `affine`."""
    affine: NDArray[np.float64]
    """(4, 4), indices of column, row and slice to mm, RAS+."""
    times_s: NDArray[np.float64]
    """(slices, frames): when each slice of each frame was taken, s after the first of all."""
    source: SourceSeries
