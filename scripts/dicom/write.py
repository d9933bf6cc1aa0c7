"""Results as DICOM objects of the source's study, for a PACS."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset

from ..io.atomic_folder import files_together
from .case_files import CaseFiles
from .encapsulated_pdf import make_pdf
from .heading import Heading
from .measurement_report import make_report
from .parametric_maps import MAPS, make_map
from .perfusion_series import SourceSeries
from .secondary_capture import make_overlays, make_panels
from .segmentation import make_segmentation, segments_of
from .written import FOLDER, LAST, dicom_results


def write_dicom_results(
    results: CaseFiles, source: SourceSeries, out: Path, *, report_pdf: Path | None = None
) -> list[Path]:
    """Write the results of a case as DICOM to ``<out>/<case>/dicom``: all files or none, see `files_together`.

    ``seg.dcm`` (masks), ``cbf``, ``cbv``, ``mtt``, ``tmax``, ``probability.dcm`` (maps), ``sr.dcm`` (measurements),
    ``panel*.dcm`` and ``overlay_*.dcm`` (pictures), ``report.dcm`` (PDF), each where the case has it. The same results
    and source give the same bytes.

    Args:
        results: the complete results of the case, on the grid of the series.
        source: the series that they were made of.
        out: folder of the results of all cases.
        report_pdf: the report; None writes none.

    Returns:
        The files, the report of measurements last.

    Raises:
        CaseError: the results cannot be placed in the source's space.
        FileNotFoundError: there is no `report_pdf`.
    """
    objects = _objects(results, source, report_pdf)
    case_folder = Path(out) / results.case
    folder = case_folder / FOLDER
    with files_together(folder, LAST, [path.name for path in dicom_results(case_folder)]) as complete:
        for name, dataset in objects.items():
            dataset.save_as(complete / f"{name}.dcm", enforce_file_format=True)
    return [folder / f"{name}.dcm" for name in objects]


def _objects(results: CaseFiles, source: SourceSeries, report_pdf: Path | None) -> dict[str, Dataset]:
    """All objects by name, the measurements last."""
    heading, segments = Heading.of(results, source), segments_of(results)
    segmentation = make_segmentation(results, heading, segments)
    objects: dict[str, Dataset] = {"seg": segmentation}
    for name in MAPS:
        made = make_map(results, heading, name)
        if made is not None:
            objects[name] = made
    objects |= make_panels(results, heading)
    objects |= make_overlays(results, heading, segments)
    if report_pdf is not None:
        objects["report"] = make_pdf(Path(report_pdf).read_bytes(), heading)
    objects["sr"] = make_report(results, heading, segments, segmentation)
    return objects
