"""What the writer needs of a case's results. `scripts.report.case_results.CaseResults` provides it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

RESEARCH_ONLY = "RESEARCH ONLY - not for diagnosis"


class CaseFiles(Protocol):
    """The results of one case, see `CaseResults`: this module lies below it and imports nothing of it."""

    @property
    def case(self) -> str:
        """Name of the case."""

    @property
    def record(self) -> Mapping[str, Any]:
        """`<case>_result.json`."""

    @property
    def summary(self) -> Mapping[str, Any] | None:
        """`summary.json` of the perfusion maps; None where there are none."""

    @property
    def affine(self) -> NDArray:
        """(4, 4), indices of column, row and slice to mm, RAS+."""

    def file(self, name: str) -> Path:
        """The file of an image."""

    def volume(self, name: str) -> NDArray | None:
        """An image (columns, rows, slices), None where there is no such file."""
