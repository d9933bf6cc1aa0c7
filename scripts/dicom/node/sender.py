"""The storage user: results go to an application entity (pynetdicom)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from .transfer import UNCOMPRESSED
from .worker import Delivered, UnreachableError


@dataclass(frozen=True)
class Peer:
    """Sends files by C-STORE to an application entity. A worker calls it.

    `calling` is the node's own AE title.
    """

    host: str
    port: int
    ae: str
    calling: str = "CTPSTROKE"
    timeout_s: float = 60.0

    @classmethod
    def parse(cls, text: str, calling: str) -> Self:
        """Read HOST:PORT:AE; an IPv6 address stands in brackets.

        Raises:
            ValueError: it is not of this form.
        """
        match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\s\[\]]+):(\d{1,5}):([^\s\\][^\\]{0,15})", text)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError(f"expected HOST:PORT:AE such as 10.0.0.5:104:PACS, got '{text}'")
        return cls(match[1].strip("[]"), int(match[2]), match[3], calling)

    def __call__(self, files: Sequence[Path], delivered: Delivered) -> None:
        """Send files over one association.

        Raises:
            UnreachableError: there is no association, it ended, or the peer has no room now.
        """
        association = self._associate(files)
        try:
            for path in files:
                delivered(path, self._store(association, path))
        finally:
            if association.is_established:
                association.release()

    def _associate(self, files: Sequence[Path]) -> Association:
        ae = AE(self.calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self.timeout_s
        ae.connection_timeout = 10
        for sop_class, syntaxes in _contexts(files).items():
            for syntax in sorted(syntaxes):  # a context each: of several syntaxes in one, the peer picks one
                ae.add_requested_context(sop_class, syntax)
        association = ae.associate(self.host, self.port, ae_title=self.ae)
        if not association.is_established:
            refused = "refused the association" if association.is_rejected else "does not answer"
            raise UnreachableError(f"{self.ae} at {self.host}:{self.port} {refused}")
        return association

    def _store(self, association: Association, path: Path) -> str:
        """Send a file; returns why it was refused, or nothing."""
        if not association.is_established:
            raise UnreachableError(f"{self.ae} ended the association")
        try:
            answer: Dataset = association.send_c_store(path)
        except ValueError:
            name = UID(dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).SOPClassUID).name
            return f"{self.ae} does not accept {name}"
        except RuntimeError as error:
            raise UnreachableError(f"{self.ae} ended the association") from error
        if "Status" not in answer:
            raise UnreachableError(f"{self.ae} ended the association or did not answer")
        category = code_to_category(answer.Status)
        if category in ("Success", "Warning"):
            return ""
        if 0xA700 <= answer.Status <= 0xA7FF:
            raise UnreachableError(f"{self.ae} is out of resources (status 0x{answer.Status:04X})")
        return f"{self.ae} answered with status 0x{answer.Status:04X}"


def _contexts(files: Sequence[Path]) -> dict[str, set[str]]:
    """The SOP classes of files with their transfer syntaxes; what is not compressed can go in two ways."""
    found: dict[str, set[str]] = {}
    for path in files:
        meta = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
        syntaxes = found.setdefault(str(meta.MediaStorageSOPClassUID), set())
        syntaxes.add(str(meta.TransferSyntaxUID))
        if meta.TransferSyntaxUID in UNCOMPRESSED:
            syntaxes.update(map(str, UNCOMPRESSED))
    return found
