"""Which study an encoded dataset belongs to, read without its pixels and without trust in it."""

from __future__ import annotations

import hashlib
import zlib
from io import BytesIO
from typing import NamedTuple

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

HEADER_BYTES = 1 << 20
"""The UIDs of a dataset lie within its first MiB: what is large comes after group 0020."""
STUDY_INSTANCE_UID = 0x0020000D


class InstanceUIDs(NamedTuple):
    """What an instance says it is."""

    sop_class: str
    instance: str
    study: str

    @property
    def study_key(self) -> str:
        """The name of the study in folders, logs and tables: 16 hex digits of a hash."""
        return study_key(self.study)

    @property
    def file_name(self) -> str:
        """The name of the instance's file: a hash, so that a UID of any form is a safe name."""
        return hashlib.sha256(self.instance.encode()).hexdigest()[:32] + ".dcm"


def study_key(study_uid: str) -> str:
    """The name of a study in folders, logs and tables: 16 hex digits of a hash of its UID."""
    return hashlib.sha256(study_uid.encode()).hexdigest()[:16]


def uids_of(dataset: Dataset) -> InstanceUIDs:
    """The UIDs of a dataset.

    Raises:
        ValueError: one of them is missing or no UID.
    """
    found = []
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        uid = UID(str(dataset.get(keyword, "")))
        if not uid.is_valid:
            raise ValueError(f"expected a valid {keyword}, got {'none' if not uid else 'another value'}")
        found.append(str(uid))
    return InstanceUIDs(*found)


def uids_of_encoded(encoded: memoryview, transfer_syntax: str) -> InstanceUIDs:
    """The UIDs of a dataset as it came from the network, without file meta information.

    Only its beginning is read, so that neither a large nor a deflated dataset takes memory.

    Raises:
        ValueError: it cannot be read, or a UID is missing or no UID.
    """
    syntax = UID(transfer_syntax)
    try:
        head = bytes(encoded[:HEADER_BYTES])
        if syntax.is_deflated:
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, HEADER_BYTES)
        dataset = read_dataset(
            BytesIO(head),
            is_implicit_VR=syntax.is_implicit_VR,
            is_little_endian=syntax.is_little_endian,
            stop_when=lambda tag, vr, length: tag > STUDY_INSTANCE_UID,
        )
        return uids_of(dataset)
    except ValueError:
        raise
    except Exception as error:  # whatever a hostile dataset makes a parser raise
        raise ValueError(f"the dataset cannot be read ({type(error).__name__})") from error
