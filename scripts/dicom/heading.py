"""What all objects of a case share: patient, study, frame of reference, equipment, series, UIDs and times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from highdicom import VolumeGeometry
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from .case_files import CaseFiles
from .grid import source_grid
from .identity import patient_and_study, taken_at
from .perfusion_series import SourceSeries
from .source_images import (
    plane_of,
    plane_positions,
    reduced_images,
    referenced_instances,
    referenced_series,
    references,
)
from .uids import ResultUIDs

MANUFACTURER = "ctp_stroke_lesion_segmentation"
MODEL = "ctp-stroke"
SERIES = {
    "seg": (901, "lesion masks"),
    "sr": (902, "measurements"),
    "panel": (903, "panel"),
    "overlay": (904, "masks on each slice"),
    "report": (905, "report"),
    "cbf": (911, "CBF"),
    "cbv": (912, "CBV"),
    "mtt": (913, "MTT"),
    "tmax": (914, "Tmax"),
    "probability": (915, "lesion probability"),
}
"""Kind of a series, what is added to 1000 times the number of the source's series, and what its description says."""

_DOCUMENTS = ("SR", "DOC")  # they have other places for their references
_OF_THE_RUN = (
    "InstanceCreationDate",
    "InstanceCreationTime",
    "DateOfSecondaryCapture",
    "TimeOfSecondaryCapture",
    "ContributingEquipmentSequence",
)
"""What would tell when the program ran; all of it is optional."""
_MAX_SOURCE_NUMBER = 2_000_000  # an integer string (IS) ends at 2^31 - 1


_Object = TypeVar("_Object", bound=Dataset)


@dataclass(frozen=True)
class Heading:
    """What a result takes from its source and from the run that made it."""

    case: str
    uid: ResultUIDs
    identity: Dataset
    """Patient and study."""
    images: list[Dataset]
    """The source's headers with references and geometry alone."""
    used: list[Dataset]
    """References to every object of the source that was used."""
    made_of: list[Dataset]
    """The same as items of the Referenced Series Sequence."""
    drawn_from: list[Dataset]
    """Such items of `images` alone."""
    grid: VolumeGeometry | None
    """The source's; None where its planes do not lie straight above each other."""
    taken: tuple[str, str]
    """Date and time."""
    source_number: int
    version: str
    weights: str
    """SHA-256."""

    @classmethod
    def of(cls, results: CaseFiles, source: SourceSeries) -> Heading:
        """Collect it.

        Args:
            results: the case.
            source: the series that it was made of.
        """
        header, uid = source.headers[0], ResultUIDs(results, source)
        frame_of_reference = str(header.get("FrameOfReferenceUID") or uid("frame of reference"))
        images = reduced_images(source.headers, frame_of_reference)
        numbers = [int(one.get("SeriesNumber") or 0) for one in source.headers]
        used = references(source.instances, str(header.StudyInstanceUID))
        settings = results.record.get("settings", {})
        return cls(
            case=results.case,
            uid=uid,
            identity=patient_and_study(header),
            images=images,
            used=used,
            made_of=referenced_series(used),
            drawn_from=referenced_series(images),
            grid=source_grid(plane_positions(images), plane_of(images[0])),
            taken=taken_at(header),
            source_number=max(min(numbers), 0) % _MAX_SOURCE_NUMBER,
            version=str(settings.get("version", "unknown")),
            weights=str(settings.get("weights", "unknown")),
        )

    @property
    def frame_of_reference_uid(self) -> str:
        """That of the source."""
        return str(self.images[0].FrameOfReferenceUID)

    @property
    def equipment(self) -> dict[str, Any]:
        """Arguments of highdicom; the serial number of a program is that of its weights."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MODEL,
            "software_versions": self.version,
            "device_serial_number": self.weights[:16],
        }

    def naming(self, series: str, instance: str | None = None, number: int = 1) -> dict[str, Any]:
        """Arguments of highdicom: the series by its kind, the object by its name (that of the series if None)."""
        offset, says = SERIES[series]
        return {
            "series_instance_uid": self.uid(f"series {series}"),
            "series_number": 1000 * self.source_number + offset,
            "sop_instance_uid": self.uid(instance or series),
            "instance_number": number,
            "series_description": f"RESEARCH ONLY CTP {says}",
        }

    def primary(self) -> list[Dataset]:
        """The images that highdicom takes geometry from: it wants them of one series, and a multi-frame one alone."""
        first = self.images[0]
        if "PerFrameFunctionalGroupsSequence" in first:
            return [first]
        return [image for image in self.images if image.SeriesInstanceUID == first.SeriesInstanceUID]

    def finish(self, dataset: _Object) -> _Object:
        """Give an object the patient and study as they are, the source's time, and references to all that was used."""
        for keyword in _OF_THE_RUN:
            dataset.pop(keyword, None)
        dataset.update(self.identity)
        dataset.SeriesDate, dataset.SeriesTime = self.taken
        dataset.ContentDate, dataset.ContentTime = self.taken
        if dataset.Modality not in _DOCUMENTS:
            dataset.BodyPartExamined = "BRAIN"
            dataset.SourceImageSequence = referenced_instances(self.images)
            is_picture = dataset.SOPClassUID == SecondaryCaptureImageStorage
            # A map is made of the whole series, a picture shows its slices.
            dataset.ReferencedSeriesSequence = self.drawn_from if is_picture else self.made_of
        if "DimensionOrganizationSequence" in dataset:
            uid = self.uid(f"dimensions {dataset.SOPInstanceUID}")
            for item in (*dataset.DimensionOrganizationSequence, *dataset.get("DimensionIndexSequence", [])):
                item.DimensionOrganizationUID = uid
        return dataset
