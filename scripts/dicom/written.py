"""The DICOM results in the folder of a case: which files are ours, whether they are complete, and their removal."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = "dicom"
LAST = "sr.dcm"
"""The commit marker: it refers to the masks, so that where it is they are."""
_OURS = re.compile(r"(seg|sr|report|panel(_[a-z]+)?|overlay_\d+|cbf|cbv|mtt|tmax|probability)\.dcm")


def has_dicom_results(case_folder: Path) -> bool:
    """Whether the folder of a case holds complete DICOM results."""
    return (case_folder / FOLDER / LAST).is_file()


def remove_dicom_results(case_folder: Path) -> None:
    """Remove the DICOM results of a case; other files next to them stay."""
    for path in dicom_results(case_folder):
        path.unlink()


def dicom_results(case_folder: Path) -> list[Path]:
    """The DICOM results of a case, the commit marker first."""
    found = [path for path in (case_folder / FOLDER).glob("*.dcm") if _OURS.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.name != LAST, path.name))
