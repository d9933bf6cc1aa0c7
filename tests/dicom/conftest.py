"""A case with its source, and what has been written of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dicom.simple_ct import axial_affine, classic_source, make_results

SHAPE = (24, 20, 5)
FRAMES = 4
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> dict[str, Path]:
    """The files of a case with maps and a report, by their names; ``results`` is the case's folder."""
    from scripts.dicom.write import write_dicom_results  # highdicom takes seconds, which other tests do not need

    folder = tmp_path_factory.mktemp("written")
    affine = axial_affine()
    results = make_results(folder / "case_a", affine, SHAPE)
    (folder / "report.pdf").write_bytes(PDF)
    source = classic_source(affine, (*SHAPE, FRAMES))
    paths = write_dicom_results(results, source, folder / "out", report_pdf=folder / "report.pdf")
    return {path.stem: path for path in paths}
