"""The record of a segmented case, `<case>_result.json`: the marker that its results are complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLUMNS = ("case", "lesion_volume_ml", "lesion_slices", "largest_component_ml", "components", "warnings")
"""Of the row of a case."""


def read_record(path: Path) -> dict[str, Any]:
    """What a complete case's ``_result.json`` holds: ``row`` and ``series``; empty where there is no such record."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        case = record["row"]["case"]
        own = path.name == f"{case}_result.json" == f"{path.parent.name}_result.json"
        whole = own and path.with_name(f"{case}_lesion.nii.gz").is_file() and set(COLUMNS) <= set(record["row"])
        return record if whole and {"series"} <= set(record) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
