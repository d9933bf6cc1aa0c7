"""Where the bundle lies."""

from pathlib import Path


def bundle_root() -> str:
    """Return the folder that holds ``configs``, ``models`` and ``scripts``, whatever the working directory is."""
    return str(Path(__file__).resolve().parents[2])
