"""Where the bundle lies, and what the path of a file is."""

import os
from pathlib import Path

PACKAGE = "ctp_stroke_lesion_segmentation"
"""The folder of the bundle in an environment where pip installed it."""


def bundle_root() -> str:
    """Return the folder that holds ``configs``, ``models`` and ``scripts``, whatever the working directory is."""
    return str(Path(__file__).resolve().parents[2])


def is_installed() -> bool:
    """Whether the bundle's folder belongs to an environment, so that nothing is to be written there."""
    root = Path(bundle_root())
    return root.name == PACKAGE and any(root.parent.glob(f"{PACKAGE}-*.dist-info"))


def is_file(text: str | os.PathLike[str]) -> bool:
    """Whether a text is the path of a file; one that no file can have is none."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long, or with a character that no path has
        return False
