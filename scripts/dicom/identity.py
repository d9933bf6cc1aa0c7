"""What results copy from their source as it is: patient and study, and when it was taken."""

from __future__ import annotations

from copy import deepcopy

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE

PATIENT_AND_STUDY = (
    # Patient (PS3.3, C.7.1.1)
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # General Study (C.7.2.1)
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "PhysiciansOfRecord",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    # Patient Study (C.7.2.2)
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdditionalPatientHistory",
    # SOP Common (C.12.1): what the copied times are relative to
    "TimezoneOffsetFromUTC",
)
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_TIMES = (("AcquisitionDate", "AcquisitionTime"), ("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime"))


def patient_and_study(header: Dataset) -> Dataset:
    """The elements of the patient and study modules, text in UTF-8, without private elements.

    Values are copied as they are, also those that break a rule of the standard: a result must match its study.
    """
    source = Dataset()
    for keyword in ("SpecificCharacterSet", *PATIENT_AND_STUDY):
        if keyword in header:
            source.add(deepcopy(header[keyword]))
    source.decode()
    copy = Dataset()
    copy.SpecificCharacterSet = "ISO_IR 192"
    for keyword in PATIENT_AND_STUDY:
        if keyword in source:
            copy.add(_in_unicode(source[keyword]))
        elif keyword in _TYPE_2:
            setattr(copy, keyword, "")
    copy.remove_private_tags()
    return copy


def _in_unicode(element: DataElement) -> DataElement:
    """The element, its names as text: a PersonName would keep the bytes of the source's character set."""
    if element.VR == "SQ":
        for item in element.value:
            item.decode()
            item.pop("SpecificCharacterSet", None)
            for inner in item:
                item[inner.tag] = _in_unicode(inner)
        return element
    if element.VR != "PN":
        return element
    names = [str(name) for name in element.value] if element.VM > 1 else str(element.value)
    return DataElement(element.tag, "PN", names, validation_mode=IGNORE)


def taken_at(header: Dataset) -> tuple[str, str]:
    """Date (YYYYMMDD) and time (HHMMSS.F) of the source: results carry it, so that two runs give the same bytes.

    The acquisition's, else that of the content, of the series, of the study.
    """
    stamp = str(header.get("AcquisitionDateTime") or "").split("+")[0].split("-")[0]
    if len(stamp) >= 14:
        return stamp[:8], stamp[8:]
    for date, time in (*_TIMES, ("StudyDate", "StudyTime")):
        if header.get(date) and header.get(time):
            return str(header[date].value), str(header[time].value)
    return str(header.get("StudyDate") or "19000101"), str(header.get("StudyTime") or "000000")
