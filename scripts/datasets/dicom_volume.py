"""A perfusion map stored as a DICOM series: one image for each slice."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..dicom.detect import require_pydicom
from ..dicom.errors import DicomError
from ..dicom.files import study_files
from ..dicom.geometry import find_geometry
from ..dicom.headers import quiet, read_entry
from ..dicom.pixels import read_hu


def read_map(folder: str | PathLike[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read the values of a map, scaled by slope and intercept, and its affine.

    Returns:
        (H, W, D) float32; (4, 4), voxel indices to mm (RAS+).

    Raises:
        DicomError: there is no CT image with one value per pixel, or more than one image of a slice.
        ModuleNotFoundError: `pydicom` is not installed.
    """
    require_pydicom()
    place = f"'{Path(folder)}'"
    with quiet(), study_files(folder) as files:
        entries = [entry for file in files if (entry := read_entry(file)) is not None]
        problem = next((entry.problem for entry in entries if entry.problem), None)
        samples = [sample for entry in entries for sample in entry.samples]
        if problem or not samples:
            raise DicomError.at(place, "CT images with one value per pixel", problem or "none")
        geometry = find_geometry(samples)
        order = np.argsort(geometry.slice_of, kind="stable")
        if len(samples) != geometry.n_slices:
            raise DicomError.at(place, "one image of each slice", f"{len(samples)} of {geometry.n_slices} slices")
        values = read_hu(samples, order[:, None])
    return np.asarray(values[..., 0], dtype=np.float32), geometry.affine_ras
