"""The error of a DICOM object or study, in one line."""

from __future__ import annotations

from typing import Self

from ..io.errors import CaseError


class DicomError(CaseError):
    """A DICOM file, instance or study is not what it should be."""

    @classmethod
    def at(cls, place: str, expected: str, got: object) -> Self:
        """Compose the message.

        Args:
            place: the file, with the SOP Instance UID where it is known.
            expected: what should be there.
            got: what is there; must not hold values that identify the patient.
        """
        return cls(f"{place}: expected {expected}, got {' '.join(str(got).split())[:300]}")
