"""The report as Encapsulated PDF."""

from __future__ import annotations

from highdicom.base import SOPClass
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from .case_files import RESEARCH_ONLY
from .heading import Heading
from .source_images import referenced_instances


def make_pdf(pdf: bytes, heading: Heading) -> SOPClass:
    """Make the object.

    Args:
        pdf: the file's bytes.
        heading: what the objects of the case share.
    """
    document = SOPClass(
        study_instance_uid=heading.identity.StudyInstanceUID,
        sop_class_uid=EncapsulatedPDFStorage,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **heading.naming("report"),
        **heading.equipment,
    )
    document.ConversionType = "WSD"
    document.BurnedInAnnotation = "YES"
    document.DocumentTitle = RESEARCH_ONLY
    document.ConceptNameCodeSequence = []
    document.AcquisitionDateTime = "".join(heading.taken)
    document.SourceInstanceSequence = referenced_instances(heading.images)
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    return heading.finish(document)
