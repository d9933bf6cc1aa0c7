"""The results of one case, as `ctp-stroke segment --maps` leaves them in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.errors import CaseError
from ..io.nifti import read_nifti
from ..workflow.result_writer import read_record

_SUMMARY = "summary.json"


@dataclass(frozen=True)
class CaseResults:
    """A case's folder with complete results."""

    folder: Path
    case: str
    record: Mapping[str, Any]
    """`<case>_result.json`: `row` (see `scripts.workflow.result_writer.lesion_row`), `series`, `frame_times`,
    `settings`."""
    summary: Mapping[str, Any] | None
    """`summary.json` of the perfusion maps; None where there are no maps."""
    affine: NDArray[np.float64]
    """(4, 4) of the lesion mask, and so of the series."""

    @classmethod
    def load(cls, folder: Path) -> CaseResults:
        """Load the results in a folder `<out>/<case>`.

        Raises:
            CaseError: they are not complete.
        """
        case = folder.resolve().name
        record = read_record(folder / f"{case}_result.json")
        if not record:
            raise CaseError.of(case, "results", folder, f"complete results ({case}_result.json and its mask)", "none")
        summary_file = folder / _SUMMARY
        summary = json.loads(summary_file.read_text(encoding="utf-8")) if summary_file.is_file() else None
        affine = read_nifti(folder / f"{case}_lesion.nii.gz", case=case, key="lesion").affine
        return cls(folder, case, record, summary, affine)

    def file(self, name: str) -> Path:
        """The file of an image: ``lesion``, ``probability``, ``cbf``, ``tmax``, ``core``, ``delay``, ``brain``, ..."""
        return self.folder / f"{self.case}_{name}.nii.gz"

    def volume(self, name: str) -> NDArray | None:
        """An image (H, W, D) on the grid of the series, see `file`; None where there is no such file."""
        file = self.file(name)
        return read_nifti(file, case=self.case, key=name).array if file.is_file() else None
