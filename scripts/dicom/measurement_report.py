"""The volumes as a structured report (TID 1500, Comprehensive 3D SR) that refers to the masks and the source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementProperties,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from .case_files import RESEARCH_ONLY, CaseFiles
from .codes import (
    BRAIN,
    COMMENT,
    INTENSITY_RATIO,
    ISCHEMIA,
    MILLILITER,
    MISMATCH_RATIO,
    MISMATCH_VOLUME,
    NOT_A_NUMBER,
    OWN_SCHEME,
    PERFUSION_ANALYSIS,
    POSITIVE_INFINITY,
    RATIO_UNIT,
    VOLUME,
)
from .heading import MANUFACTURER, MODEL, Heading
from .segmentation import Segment, tracking_uid

_INTERVAL = "interval of 90 %"


class Number(NamedTuple):
    """A number of the summary, as JSON stores it: None is not a number, ``infinite`` is infinity."""

    value: float | str | None
    interval: Sequence[float | str | None] | None
    unit: Code


def make_report(
    results: CaseFiles, heading: Heading, segments: Sequence[Segment], segmentation: Segmentation
) -> Comprehensive3DSR:
    """Make the object: a group for each segment with its volume and, with perfusion maps, one for the mismatch."""
    summary = results.summary or {}
    groups: list[Any] = [_segment_group(segment, heading, segmentation, summary) for segment in segments]
    if results.summary is not None:
        groups.append(_mismatch_group(heading, summary))
    observer = DeviceObserverIdentifyingAttributes(
        uid=heading.uid("observer"),
        name=MODEL,
        manufacturer_name=MANUFACTURER,
        model_name=f"{MODEL} {heading.version}",
        serial_number=heading.weights[:16],
    )
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=observer
            )
        ),
        procedure_reported=PERFUSION_ANALYSIS,
        imaging_measurements=groups,
        referenced_images=[image for image in heading.images if "PixelSpacing" in image],  # classic CT
    )
    document = Comprehensive3DSR(
        evidence=[heading.images[0], *heading.used, segmentation],
        content=report,
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(OWN_SCHEME, name=MODEL)],
        specific_character_set="ISO_IR 192",
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=heading.version,
        device_serial_number=heading.weights[:16],
        **heading.naming("sr"),
    )
    return heading.finish(document)


def _segment_group(
    segment: Segment, heading: Heading, segmentation: Segmentation, summary: Mapping[str, Any]
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    if segment.name == "core":
        interval = summary.get("core_ml_interval")
    elif segment.name == "delay":
        interval = next(iter(summary["tmax_ml_interval"].values()))
    else:
        interval = None
    volume = Number(segment.volume_ml, interval, MILLILITER)
    reference = ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=segment.number,
        source_series=SourceSeriesForSegmentation(heading.images[0].SeriesInstanceUID),
    )
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid(heading, segment), identifier=segment.label),
        referenced_segment=reference,
        finding_type=segment.kind,
        finding_sites=[FindingSite(BRAIN)],
        algorithm_id=_algorithm(heading),
        **_findings({VOLUME: volume}),
    )
    return _with_comments(group, [_says(segment.label, volume)])


def _mismatch_group(heading: Heading, summary: Mapping[str, Any]) -> MeasurementsAndQualitativeEvaluations:
    numbers = {
        MISMATCH_VOLUME: Number(summary["mismatch_ml"], summary.get("mismatch_ml_interval"), MILLILITER),
        MISMATCH_RATIO: Number(summary["mismatch_ratio"], summary.get("mismatch_ratio_interval"), RATIO_UNIT),
        INTENSITY_RATIO: Number(summary["hypoperfusion_intensity_ratio"], None, RATIO_UNIT),
    }
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=heading.uid("finding mismatch"), identifier="Mismatch"),
        finding_type=ISCHEMIA,
        finding_sites=[FindingSite(BRAIN)],
        algorithm_id=_algorithm(heading),
        **_findings(numbers),
    )
    cautions = [f"Caution: {_words(caution)}" for caution in summary.get("cautions", [])]
    warnings = [f"Warning: {_words(warning)}" for warning in summary.get("warnings", [])]
    return _with_comments(
        group, [*(_says(code.meaning, number) for code, number in numbers.items()), *cautions, *warnings]
    )


def _findings(numbers: Mapping[Code, Number]) -> dict[str, Any]:
    """Arguments of highdicom: what has a value is a measurement; of the rest a code tells that it is none, or infinite.

    A measurement without a value would be of the standard too, but highdicom does not read it.
    """
    evaluations = {
        name: NOT_A_NUMBER if number.value is None else POSITIVE_INFINITY
        for name, number in numbers.items()
        if _finite(number.value) is None
    }
    return {
        "measurements": [_measurement(name, number) for name, number in numbers.items() if name not in evaluations],
        "qualitative_evaluations": [QualitativeEvaluation(name, value) for name, value in evaluations.items()],
    }


def _measurement(name: Code, number: Number) -> Measurement:
    """The number with the distances to the ends of its interval (TID 310)."""
    value = _finite(number.value)
    assert value is not None
    low, high = (_finite(end) for end in number.interval or (None, None))
    properties = None
    if low is not None or high is not None:
        properties = MeasurementProperties(
            upper_measurement_uncertainty=None if high is None else _rounded(high - value),
            lower_measurement_uncertainty=None if low is None else _rounded(value - low),
        )
        for item in properties:  # highdicom has no unit for them
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = number.unit.value
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeMeaning = number.unit.meaning
    return Measurement(name=name, value=value, unit=number.unit, properties=properties)


def _with_comments(group: Any, comments: Sequence[str]) -> Any:
    """Append text to a group: the statement, and its numbers in words for those who read the report as text."""
    for text in (RESEARCH_ONLY, *comments):
        item = TextContentItem(name=COMMENT, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(item)
    return group


def _says(name: str, number: Number) -> str:
    unit = "" if number.unit is RATIO_UNIT else f" {number.unit.meaning}"
    value = "unknown" if number.value is None else f"{_short(number.value)}{unit}"
    if number.interval is None or number.value is None:
        return f"{name}: {value}"
    low, high = (_short(end) for end in number.interval)
    return f"{name}: {value} ({_INTERVAL} {low} to {high}{unit})"


def _short(value: float | str | None) -> str:
    finite = _finite(value)
    if finite is not None:
        return f"{finite:.3g}" if abs(finite) < 100 else f"{finite:.0f}"
    return "unknown" if value is None else "infinite"


def _finite(value: float | str | None) -> float | None:
    """The number, None for what JSON stores in place of NaN and infinity."""
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return float(value)


def _rounded(distance: float) -> float:
    return round(max(distance, 0.0), 4)


def _words(finding: Any) -> str:
    return str(finding.get("text", finding) if isinstance(finding, Mapping) else finding)


def _algorithm(heading: Heading) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=MODEL, version=heading.version, parameters=[f"weights SHA-256 {heading.weights}", "research only"]
    )
