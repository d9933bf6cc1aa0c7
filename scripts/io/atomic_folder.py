"""Writing several files that belong together, in one folder, with one of them as the commit marker."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from .atomic import sync, temporary_path


@contextmanager
def files_together(folder: str | PathLike[str], last: str, replaced: Iterable[str] = ()) -> Iterator[Path]:
    """Give an empty folder, whose files move to `folder` when the block ends well and are removed otherwise.

    Files of the same names are replaced, others in `folder` stay. The empty folder lies inside `folder`, which may be a
    mount point. The file `last` is the commit marker: the old one is removed when all new files are complete, and the
    new one is moved last. Where it is, all files are of one run; where a kill left none, they may be of two.

    Args:
        folder: where the files shall be; made, with its parents, if it is not there.
        last: name of the commit marker.
        replaced: names of files of an earlier run that are removed if the block writes none of this name.

    Raises:
        NotADirectoryError: there is a file in the place of `folder`.
        IsADirectoryError: there is a folder in the place of one of the files; nothing was replaced.
    """
    target = Path(folder).absolute()
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"'{folder}': expected a folder to write into, got a file")
    made = not target.exists()
    try:
        with temporary_path(target) as complete:
            complete.mkdir()
            yield complete
            _commit(complete, target, last, replaced)
    finally:
        if made:
            with contextlib.suppress(OSError):  # it has files in it
                target.rmdir()


def _commit(complete: Path, target: Path, last: str, replaced: Iterable[str]) -> None:
    paths = sorted(complete.iterdir(), key=lambda path: (path.name == last, path.name))
    for path in paths:
        if (target / path.name).is_dir():
            raise IsADirectoryError(f"'{target / path.name}': expected a file to replace, got a folder")
        sync(path)
    (target / last).unlink(missing_ok=True)
    sync(target)
    for name in {*replaced} - {path.name for path in paths}:
        if (target / name).is_file():
            (target / name).unlink()
    for path in paths:
        if path.name == last:
            sync(target)
        os.replace(path, target / path.name)
    sync(target)
