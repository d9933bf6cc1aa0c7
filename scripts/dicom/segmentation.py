"""The masks as a DICOM Segmentation: binary, coded, on the source's planes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.coding import Code

from ..report.scales import COLORS
from .case_files import RESEARCH_ONLY, CaseFiles
from .codes import ABNORMAL, ARTIFICIAL_INTELLIGENCE, BRAIN, INFARCT, ISCHEMIA
from .grid import planes
from .heading import MODEL, Heading

Color = tuple[int, int, int]


class Segment(NamedTuple):
    """One mask of a case."""

    name: str
    """Of its file."""
    number: int
    label: str
    kind: Code
    rgb: Color
    volume_ml: float | None
    """As the results state it; None where it has no meaning."""


def segments_of(results: CaseFiles) -> list[Segment]:
    """The masks that a case has: the lesion, and where there are perfusion maps the core and the delayed tissue.

    Their colors are those of the panels and the report.
    """
    lesion_ml = float(results.record["row"]["lesion_volume_ml"])
    found = [Segment("lesion", 1, "Ischemic lesion", INFARCT, _rgb("lesion"), lesion_ml)]
    if results.summary is None:
        return found
    limit, volumes = delay_limit_s(results), results.summary
    others = (
        ("core", "Infarct core (CTP)", INFARCT, _rgb("core"), volumes["core_ml"]),
        ("delay", f"Tmax > {limit} s", ISCHEMIA, _rgb("delay"), volumes["tmax_ml"][limit]),
    )
    for name, label, kind, rgb, volume_ml in others:
        if results.file(name).is_file():
            found.append(Segment(name, len(found) + 1, label, kind, rgb, volume_ml))
    return found


def _rgb(name: str) -> Color:
    value = COLORS[name]
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)


def delay_limit_s(results: CaseFiles) -> str:
    """The threshold of Tmax that the mask of delayed tissue was made with, in s: the one with an interval."""
    assert results.summary is not None
    return str(next(iter(results.summary["tmax_ml_interval"])))


def make_segmentation(results: CaseFiles, heading: Heading, segments: list[Segment]) -> Segmentation:
    """Make the object.

    Slices without a voxel of a segment have no frame of it; where all segments are empty, every slice has one, as the
    standard wants at least one frame.
    """
    masks = [results.volume(segment.name) for segment in segments]
    array = np.stack([np.asarray(mask) > 0 for mask in masks], axis=3).astype(np.uint8)
    segmentation = Segmentation(
        source_images=heading.primary(),
        pixel_array=planes(array, results.affine, heading.grid, heading.frame_of_reference_uid, heading.case),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(segment, heading) for segment in segments],
        content_label="CTP_LESION",
        content_creator_name=f"{MODEL}^",
        content_description=RESEARCH_ONLY,
        omit_empty_frames=bool(array.any()),
        specific_character_set="ISO_IR 192",
        **heading.naming("seg"),
        **heading.equipment,
    )
    return heading.finish(segmentation)


def tracking_uid(heading: Heading, segment: Segment) -> str:
    """The UID by which masks and report name one finding."""
    return heading.uid(f"finding {segment.name}")


def _description(segment: Segment, heading: Heading) -> SegmentDescription:
    description = SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=ABNORMAL,
        segmented_property_type=segment.kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm(heading),
        tracking_id=segment.label,
        tracking_uid=tracking_uid(heading, segment),
        anatomic_regions=[BRAIN],
        display_color=CIELabColor.from_rgb(*segment.rgb),
    )
    description.SegmentDescription = RESEARCH_ONLY
    return description


def algorithm(heading: Heading) -> AlgorithmIdentificationSequence:
    """Name, version and weights of what made the masks."""
    return AlgorithmIdentificationSequence(
        name=MODEL,
        family=ARTIFICIAL_INTELLIGENCE,
        version=heading.version,
        parameters={"weights SHA-256": heading.weights, "use": "research only"},
    )
