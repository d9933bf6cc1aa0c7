"""What the node agrees to on an association: SOP classes and transfer syntaxes."""

from __future__ import annotations

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AllStoragePresentationContexts, register_uid
from pynetdicom.service_class import StorageServiceClass

TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)
"""What the reader decodes."""

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)

PRIVATE = {
    "1.3.12.2.1107.5.9.1": "SiemensCSANonImageStorage",
    "1.3.12.2.1107.5.99.3.10": "SiemensCTMRVolumeStorage",
    "1.2.840.113619.4.26": "GE3DModelStorage",
}
"""Private objects of CT studies; they are accepted so that the sender can send the rest, and not kept."""

for _uid, _keyword in PRIVATE.items():
    register_uid(_uid, _keyword, StorageServiceClass)

STORAGE = tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts) + tuple(PRIVATE)
"""Whatever comes in a study."""
