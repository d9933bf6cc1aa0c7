"""UIDs that follow from what a result was made of: the same input, version and settings give the same UIDs."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

from .case_files import CaseFiles
from .perfusion_series import SourceSeries

_NAMESPACE = uuid.UUID("2f6a3c0e-6f0b-4bb5-9d0a-8f6f6d1c7a52")  # drawn once
_LAYOUT = 1
"""Raise it when what is written of the same results changes: a UID names one content."""
_PLACES = ("case", "path")
"""Where a case lies and how it is called changes nothing of it."""


class ResultUIDs:
    """The UIDs of all objects of one case: UUIDs of version 5 under 2.25 (PS3.5, B.2).

    They are derived from the UIDs of the source's instances and from the record and the summary of the results, which
    hold the SHA-256 of the series and of the weights, the version, the settings, and every number that was found.

    Example:
        ``ResultUIDs(results, source)("seg")``
    """

    def __init__(self, results: CaseFiles, source: SourceSeries) -> None:
        study = str(source.headers[0].StudyInstanceUID)
        instances = sorted({instance.sop_instance_uid for instance in source.instances})
        made_of = [_LAYOUT, study, instances, _without_places(results.record), _without_places(results.summary)]
        text = json.dumps(made_of, sort_keys=True, default=str)
        self._origin = hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, kind: str) -> str:
        """The UID of one thing, such as ``seg`` or ``seg series``."""
        return f"2.25.{uuid.uuid5(_NAMESPACE, f'{self._origin} {kind}').int}"


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_places(part) for key, part in value.items() if key not in _PLACES}
    return value
