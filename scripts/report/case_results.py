"""The results of one case, as `ctp-stroke segment --maps` leaves them in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.case_record import read_record
from ..io.errors import CaseError
from ..io.nifti import open_nifti, read_nifti
from ..io.origin import sha256

_SUMMARY = "summary.json"
_SEGMENTED = ("lesion", "probability", "pseudo_dwi")


@dataclass(frozen=True)
class CaseResults:
    """A case's folder with complete results."""

    folder: Path
    """Absolute."""
    case: str
    record: Mapping[str, Any]
    """`<case>_result.json`: `row` (see `scripts.workflow.result_writer.lesion_row`), `series`, `frame_times`,
    `settings`."""
    summary: Mapping[str, Any] | None
    """`summary.json` of the perfusion maps; None where there are no complete maps."""
    affine: NDArray[np.float64]
    """(4, 4) of the lesion mask, and so of the series."""
    shape: tuple[int, ...]
    """(H, W, D)."""

    @classmethod
    def load(cls, folder: Path) -> CaseResults:
        """Load the results in a folder `<out>/<case>`.

        Raises:
            CaseError: they are not complete, or the maps are those of another series.
        """
        folder = Path(os.path.abspath(folder))  # the name of a link is the case's, that of its target need not be
        case = folder.name
        record = read_record(folder / f"{case}_result.json")
        if not record:
            raise CaseError.of(case, "results", folder, f"complete results ({case}_result.json and its mask)", "none")
        lesion = open_nifti(folder / f"{case}_lesion.nii.gz", case=case, key="lesion")
        affine = np.asarray(lesion.affine, dtype=np.float64)
        return cls(folder, case, record, _summary(folder, case, record), affine, tuple(lesion.shape))

    def file(self, name: str) -> Path:
        """The file of an image: ``lesion``, ``probability``, ``cbf``, ``tmax``, ``core``, ``delay``, ``brain``, ..."""
        return self.folder / f"{self.case}_{name}.nii.gz"

    def volume(self, name: str) -> NDArray | None:
        """An image (H, W, D) on the grid of the series, see `file`; None where there is none that is complete.

        Raises:
            CaseError: it lies on another grid.
        """
        file = self.file(name)
        if not file.is_file() or (self.summary is None and name not in _SEGMENTED):
            return None
        image = read_nifti(file, case=self.case, key=name)
        if image.array.shape != self.shape or not np.allclose(image.affine, self.affine, atol=1e-3):
            raise CaseError.of(self.case, name, file, f"the grid of the lesion {self.shape}", f"{image.array.shape}")
        return image.array

    def series(self) -> Path | None:
        """The series of the results; None where it is no longer at its place or has changed."""
        recorded = self.record["series"]
        if not recorded or not os.path.isfile(recorded["path"]) or sha256(recorded["path"]) != recorded["sha256"]:
            return None
        return Path(recorded["path"])


def _summary(folder: Path, case: str, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The summary of the maps, if there are any."""
    file = folder / _SUMMARY
    if not file.is_file():
        return None
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        found = summary["case"], (summary.get("series") or {}).get("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaseError.of(case, "summary", file, "a summary of perfusion maps", str(error)) from error
    series = (record["series"] or {}).get("sha256")
    if found[0] != case or (None not in (found[1], series) and found[1] != series):
        expected = "maps of the series that was segmented (segment again with --maps --overwrite)"
        raise CaseError.of(case, "summary", file, expected, f"those of case '{found[0]}', another series")
    return summary
