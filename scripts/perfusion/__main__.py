"""Command line: ``python -m scripts.perfusion CTP.nii.gz --out DIR``."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path

# What computes is imported after the arguments are known: `--help` and a mistyped option need no torch.
METHODS = ("bayesian", "osvd", "bcsvd", "ssvd")
DEFAULT_SMOOTHING_MM = 3.5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.perfusion",
        description="Perfusion maps (CBF, CBV, MTT, Tmax, TTP), core and hypoperfusion of a CT-perfusion series: NIfTI "
        "files, summary.json and a picture. For research, not for patients.",
    )
    parser.add_argument("series", type=Path, help="4D NIfTI (H, W, D, T) in HU")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of another series in the folder")
    parser.add_argument("--dt_s", help="time between frames in s")
    parser.add_argument("--times", type=Path, help="file with the time of every frame in s: text, JSON or BIDS sidecar")
    parser.add_argument("--aif", help="arterial curve (text file, HU), mask (NIfTI) or voxel (i,j,k); default: found")
    parser.add_argument("--brain", type=Path, help="brain mask (NIfTI); default: found")
    parser.add_argument(
        "--orientation", type=_orientation, help="where the voxel axes point to, as RAS, if the header does not say"
    )
    parser.add_argument(
        "--no_motion_correction", action="store_true", help="leave the frames of a head that moved as they are"
    )
    parser.add_argument("--method", choices=METHODS, default="bayesian", help="estimate (default bayesian)")
    parser.add_argument(
        "--smoothing_mm",
        type=_not_negative,
        default=DEFAULT_SMOOTHING_MM,
        help=f"neighborhood of the filter, a standard deviation in mm ({DEFAULT_SMOOTHING_MM:g}); 0 for none",
    )
    parser.add_argument(
        "--core_rcbf", type=_not_negative, default=0.30, help="core below this fraction of normal flow (0.30)"
    )
    parser.add_argument("--delay_s", type=_not_negative, default=6.0, help="hypoperfusion above this Tmax in s (6)")
    return parser


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number that is not negative, got {text}")
    return number


def _orientation(text: str) -> str:
    letters = text.upper()
    if not re.fullmatch("(?=.*[RL])(?=.*[AP])(?=.*[SI])[RLAPSI]{3}", letters):
        raise argparse.ArgumentTypeError(f"expected one letter each of R or L, A or P, S or I, as RAS, got {text}")
    return letters


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    from .command import run

    try:
        run(options)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
