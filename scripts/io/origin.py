"""Which series a result was made of, so that results of two series never pass for each other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any


def origin(series: str | os.PathLike[str]) -> dict[str, str]:
    """The absolute path of a series, links resolved, and its SHA-256, as results record them."""
    return {"path": os.path.realpath(series), "sha256": sha256(series)}


def is_other(recorded: Mapping[str, Any] | None, series: str | os.PathLike[str]) -> bool:
    """Whether a recorded origin is another series: neither of the same path nor of the same bytes."""
    if not recorded or recorded.get("path") == os.path.realpath(series) or not os.path.isfile(series):
        return False
    return recorded.get("sha256") != sha256(series)


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
