"""Command line: ``python -m scripts.phantom --out DIR --cases N --seed S``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from ..io.datalist import SECTIONS
from ..io.splits import PAPER_COUNTS, scale_counts
from .cohort import generate_cohort
from .parameters import FIELD_OF_VIEW_PIXELS
from .preview import write_preview
from .thresholds import report, threshold_dice


def _split(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)/(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected three numbers of cases such as 65/6/23, got '{text}'")
    return int(match[1]), int(match[2]), int(match[3])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.phantom",
        description="Write a synthetic CT-perfusion data set as ISLES 2018 folders, with patients.csv, datalist.json "
        "(training, validation, testing) and the noise-free truth apart.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; new or empty")
    parser.add_argument("--cases", type=int, help="number of cases; default: the sum of --split")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    parser.add_argument(
        "--split", type=_split, metavar="TRAIN/VAL/TEST", help="cases of each section; default 65/6/23 in proportion"
    )
    parser.add_argument("--without-dwi", action="store_true", help="leave MR_DWI out, as the public ISLES 2018 data do")
    parser.add_argument(
        "--matrix", type=int, default=FIELD_OF_VIEW_PIXELS, help="pixels of a side; keeps the field of view"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2); the bytes do not depend on it")
    parser.add_argument("--overwrite", action="store_true", help="replace a phantom that is in --out")
    parser.add_argument("--report", action="store_true", help="print what thresholds on the maps achieve")
    parser.add_argument("--preview", type=int, default=0, metavar="N", help="draw N cases into OUT/preview.png")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.cases is None and options.split is None:
        parser.error("expected --cases or --split")
    if options.cases is not None and options.cases < 1:
        parser.error(f"expected at least one case, got --cases {options.cases}")
    if options.split is not None and options.cases not in (None, sum(options.split)):
        parser.error(f"--cases {options.cases} is not the sum of --split {'/'.join(map(str, options.split))}")
    try:
        sections = generate_cohort(
            options.out,
            options.split or scale_counts(PAPER_COUNTS, options.cases),
            options.seed,
            with_dwi=not options.without_dwi,
            matrix=options.matrix,
            workers=options.workers,
            overwrite=options.overwrite,
            progress=True,
        )
    except (ValueError, OSError, ModuleNotFoundError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    cases = [case for name in SECTIONS for case in sections[name]]
    if options.preview:
        write_preview(options.out / "preview.png", options.out, cases[: options.preview])
    if options.report:
        print(report(threshold_dice(options.out, cases)))
    counts = ", ".join(f"{len(sections[name])} {name}" for name in SECTIONS)
    print(f"{options.out}: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
