"""Reading a CT-perfusion series from the DICOM files of a study."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .arrangement import arrange
from .detect import is_dicom, require_pydicom
from .errors import DicomError
from .files import StudyFile, study_files
from .find import find_perfusion
from .geometry import Geometry, find_geometry
from .headers import quiet, read_entry, read_header
from .perfusion_series import Instance, PerfusionSeries, SourceSeries
from .pixels import read_hu
from .sample import MULTI_FRAME, Entry, Sample
from .tilt import straighten
from .times import image_times

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["is_dicom", "read_source", "read_study"]


@dataclass(frozen=True)
class _Found:
    """The images of a series, sorted; pixels are not read."""

    samples: list[Sample]
    indices: NDArray[np.intp]
    """(slices, frames) of `samples`."""
    times_s: NDArray[np.float64]
    geometry: Geometry
    source: SourceSeries


def read_study(
    path: str | os.PathLike[str], *, series_uid: str | None = None, dt_s: float | None = None
) -> PerfusionSeries:
    """Find the CT perfusion of a study, and read it.

    Memory is that of the series and of one object. Slices of a tilted gantry are moved onto a right-angled grid, see
    `scripts.dicom.tilt`.

    Args:
        path: a folder, a DICOMDIR, a zip archive, or a file of enhanced CT.
        series_uid: the series to read; by default it is found, see `scripts.dicom.find`.
        dt_s: the time between frames, used only where the headers state no times.

    Returns:
        HU, affine, times and what results refer to.

    Raises:
        DicomError: there is no CT perfusion, or an instance of it, which is named, is not what it should be.
        FileNotFoundError: there is nothing at the path.
        ModuleNotFoundError: `pydicom` is not installed.
    """
    require_pydicom()
    with quiet(), study_files(path) as files:
        found = _find(files, os.fspath(path), series_uid, dt_s)
        hu = read_hu(found.samples, found.indices)
    affine = Geometry(found.geometry.slice_of, straighten(hu, found.geometry)).affine_ras
    return PerfusionSeries(hu, affine, found.times_s, found.source)


def read_source(path: str | os.PathLike[str], *, series_uid: str | None = None) -> SourceSeries:
    """What results take from their source: as `read_study`, by the headers alone."""
    require_pydicom()
    with quiet(), study_files(path) as files:
        # Any interval: where there are no times, the order of the images does not depend on it.
        return _find(files, os.fspath(path), series_uid, dt_s=1.0).source


def _find(files: Iterator[StudyFile], place: str, series_uid: str | None, dt_s: float | None) -> _Found:
    entries = [entry for file in files if (entry := read_entry(file)) is not None]
    if not entries:
        raise DicomError.at(f"'{place}'", "a study with DICOM images", "no DICOM file")
    chosen, why = find_perfusion(entries, series_uid, place)
    samples = chosen.samples
    geometry = find_geometry(samples)
    times_s, source = image_times(samples, geometry.slice_of, dt_s)
    indices, taken_s = arrange(samples, geometry.slice_of, times_s)
    used = [samples[index] for index in indices.ravel()]
    shape = f"{indices.shape[0]} slices of {used[0].pixels.columns} x {used[0].pixels.rows}, {indices.shape[1]} times"
    line = f"{why}; {shape} by {source}"
    by_uid = {entry.uid: entry for entry in chosen.entries}
    instances = tuple(
        Instance(by_uid[uid].sop_class_uid, uid, by_uid[uid].series_uid)
        for uid in dict.fromkeys(sample.uid for sample in used)
    )
    source_series = SourceSeries(_headers(samples, indices, by_uid), instances, line)
    return _Found(samples, indices, taken_s, geometry, source_series)


def _headers(samples: list[Sample], indices: NDArray[np.intp], by_uid: Mapping[str, Entry]) -> tuple[Dataset, ...]:
    """The whole headers of the first instance of each slice, or of the multi-frame objects."""
    multi = by_uid[samples[indices[0, 0]].uid].sop_class_uid in MULTI_FRAME
    firsts = [samples[index] for index in (indices.ravel() if multi else indices[:, 0])]
    return tuple(read_header(by_uid[uid].file, keywords=False)[0] for uid in dict.fromkeys(s.uid for s in firsts))
