"""Writing several files that belong together: all of them appear in a folder, or none."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


@contextmanager
def files_together(folder: str | PathLike[str], last: str) -> Iterator[Path]:
    """Give an empty folder, whose files move to `folder` when the block ends well and are removed otherwise.

    Files of the same names are replaced, others in `folder` stay. A folder with files in it cannot be replaced in one
    step, so the file `last` goes first and comes last: where it is, everything is of one piece.

    Args:
        folder: where the files shall be; made, with its parents, if it is not there.
        last: name of the file that tells that all are there.

    Raises:
        NotADirectoryError: there is a file in the place of `folder`.
    """
    target = Path(folder).absolute()
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"'{folder}': expected a folder to write into, got a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        complete = Path(temporary) / target.name
        complete.mkdir()
        yield complete
        if not target.exists():
            os.replace(complete, target)
            return
        (target / last).unlink(missing_ok=True)
        for path in sorted(complete.iterdir(), key=lambda path: path.name == last):
            os.replace(path, target / path.name)
