"""From the DICOM files of a study to a case: a NIfTI series with a sidecar of its times."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.atomic import write_json
from ..io.names import MAX_NAME_BYTES, name_problem
from ..io.nifti import write_nifti
from .read import read_study

logger = logging.getLogger(__name__)

_EVEN_S = 1e-3


def converted(
    path: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    series_uid: str | None = None,
    dt_s: float | None = None,
    identify: bool = False,
) -> dict[str, Any]:
    """Read a study and write its series as NIfTI (HU, uncompressed) next to a JSON sidecar.

    The sidecar has `FrameTimesStart` (s, the mean over the slices), `SliceTimesStart` (s, a list for each slice, if
    these differ), `SeriesInstanceUID` and `StudyInstanceUID`.

    Args:
        path: see `scripts.dicom.read.read_study`.
        out_dir: folder of results; the files are written to ``<out_dir>/<case>``.
        series_uid: the series to read.
        dt_s: the time between frames, used only where the headers state no times.
        identify: name the case by the patient's ID, in place of a hash of the UIDs.

    Returns:
        The case: its name, `case`, the path of its series, `image`, and the UID of the series, `series_uid`.

    Raises:
        DicomError, FileNotFoundError, ModuleNotFoundError: as `read_study`.
        OSError: a file cannot be written.
    """
    series = read_study(path, series_uid=series_uid, dt_s=dt_s)
    header = series.source.headers[0]
    uids = {name: str(header[name].value) for name in ("SeriesInstanceUID", "StudyInstanceUID")}
    digest = hashlib.sha256(f"{uids['StudyInstanceUID']} {uids['SeriesInstanceUID']}".encode()).hexdigest()[:8]
    name = f"ctp-{digest}"
    if identify:
        name = _as_name(str(header.get("PatientID") or "")) or name
    target = Path(out_dir, name, f"{name}_ctp.nii")
    times = _times(series.times_s)
    logger.info("%s: %s", name, series.source.chosen)
    write_json(target.with_suffix(".json"), times | uids)
    write_nifti(target, series.hu, series.affine, dt_s=_interval_s(times["FrameTimesStart"]))
    return {"case": name, "image": str(target), "series_uid": uids["SeriesInstanceUID"]}


def _times(times_s: NDArray[np.float64]) -> dict[str, list]:
    mean_s = times_s.mean(axis=0)
    times: dict[str, list] = {"FrameTimesStart": _rounded(mean_s - mean_s[0])}
    if np.ptp(times_s, axis=0).max() > _EVEN_S:
        times["SliceTimesStart"] = [_rounded(own_s) for own_s in times_s]
    return times


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def _interval_s(times_s: list[float]) -> float:
    """The interval for the header of the file; 0, which states none, where times are uneven."""
    steps_s = np.diff(times_s)
    return round(float(steps_s.mean()), 6) if np.ptp(steps_s) < _EVEN_S else 0.0


def _as_name(identifier: str) -> str:
    """An identifier as the name of a folder; empty if nothing of it can be one."""
    name = "".join(char if char.isalnum() or char in "-_." else "_" for char in identifier).strip(". ")
    name = name.encode()[: MAX_NAME_BYTES // 2].decode(errors="ignore")
    return "" if name_problem(name) else name
