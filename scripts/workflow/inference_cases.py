"""Which cases an inference runs on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..dicom.detect import is_dicom, require_pydicom
from ..io.case import check_headers
from ..io.datalist import load_datalist
from ..io.errors import CLEAR_ERRORS, DatasetError
from ..io.gate import orientation_codes
from ..io.given_cases import given_cases
from ..io.names import repeated_names
from .case_dataset import FAILURE

STUDY_KEY = "study"
"""Of the case of a DICOM study: where the study lies."""

Paths = Sequence[str | os.PathLike[str]]


def inference_cases(
    image: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    datalist: str | os.PathLike[str],
    section: str,
    dataset_dir: str | os.PathLike[str],
    orientation: str | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    series_uid: str | None = None,
    dt_s: float | None = None,
    identify: bool = False,
) -> list[dict[str, Any]]:
    """Return the cases of CT-perfusion series, or else a section of a datalist.

    The headers of one case are checked at once; those of several when their turn comes, since one bad case does not
    stop the others.

    Args:
        image: one or more paths of 4D series, folders or datalists, see :func:`scripts.io.given_cases.given_cases`, or
            of DICOM studies, see :func:`scripts.dicom.read.read_study`; or None.
        datalist: JSON file, read where ``image`` is None.
        section: its section.
        dataset_dir: the folder that its paths are relative to.
        orientation: where the voxel axes of cases point to whose headers do not tell, such as ``"RAS"``.
        output_dir: where the series of DICOM studies are written as NIfTI, see :func:`scripts.dicom.convert.converted`.
        series_uid: the series to read of a DICOM study; by default it is found.
        dt_s: the time between frames of DICOM studies whose headers state no times.
        identify: name the cases of DICOM studies by the patient's ID.

    Raises:
        FileNotFoundError: a file is not there.
        DatasetError: a file is not what it should be.
        DicomError: the only study has no CT perfusion, or a damaged one. Of several studies, that case fails later.
        ModuleNotFoundError: a path is DICOM, and `pydicom` is not installed.
    """
    if image is None:
        cases = load_datalist(datalist, section, dataset_dir, check=False)
    else:
        paths = [image] if isinstance(image, (str, os.PathLike)) else image
        reading = {"series_uid": series_uid, "dt_s": dt_s, "identify": identify}
        cases = _cases_of(paths, section, output_dir, reading)
    if orientation is not None:
        cases = [{"orientation": orientation_codes(orientation), **case} for case in cases]
    if image is not None and len(cases) == 1:
        check_headers(cases)
    return cases


def _cases_of(
    paths: Paths, section: str, output_dir: str | os.PathLike[str] | None, reading: dict[str, Any]
) -> list[dict[str, Any]]:
    """The cases of NIfTI files, folders and datalists, then those of DICOM studies.

    Raises:
        DatasetError: two cases have one name.
    """
    studies = [path for path in paths if is_dicom(path)]
    others = [path for path in paths if path not in studies]
    cases = given_cases(others, section) if others or not studies else []
    if not studies:
        return cases
    require_pydicom()
    from ..dicom.convert import converted  # with pydicom, which an optional extra installs

    if output_dir is None:
        raise ValueError("output_dir: expected a folder for the series of DICOM studies, got none")
    for number, study in enumerate(studies, start=1):
        try:
            cases.append(converted(study, output_dir, **reading) | {STUDY_KEY: os.fspath(study)})
        except CLEAR_ERRORS as error:
            if len(studies) + len(cases) == 1:
                raise
            cases.append({"case": f"study_{number}", "image": os.fspath(study), FAILURE: str(error)})
    if problems := repeated_names(case["case"] for case in cases):
        raise DatasetError(problems)
    return cases
