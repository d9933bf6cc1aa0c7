"""The entry point of the installed command `ctp-stroke`; in the repository also `python -m scripts`.

The wheel holds this folder as `ctp_stroke_lesion_segmentation/scripts`, while the configs name `scripts.…`. The folder
that holds `scripts` and `configs` therefore goes on the path before anything else of `scripts` is imported, so that
every module exists once.
"""

import sys
from pathlib import Path


def main() -> int:
    """Run the command; returns the exit status."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from scripts.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
