"""Writing a file so that it is either the whole new one or the old one, never a part."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; it replaces `path` when the block ends well and is removed otherwise.

    The folder is made if it is not there. The temporary file lies in the same folder, since `os.replace` is atomic
    within one file system only.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | PathLike[str], content: Any, *, indent: int = 4) -> None:
    """Write `content` as JSON, atomically, with a final newline; NaN and infinity are refused (ValueError)."""
    text = json.dumps(content, indent=indent, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
