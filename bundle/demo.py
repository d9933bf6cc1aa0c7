"""One synthetic case, segmented by the shipped weights, with a picture and the volumes."""

import argparse
from pathlib import Path

from scripts.io import load_datalist

from .panel import describe, draw_case
from .steps import WEIGHTS, check_weights, ensure_data, run_workflow

HELP = "segment one synthetic case with the shipped weights and draw it"

SEED = 11
"""A patient whose lesion is easy to see; neither trained nor tested on. `docs/results.md` has the harder ones too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default: demo)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the synthetic case (default: {SEED})")
    parser.add_argument("--ckpt-path", type=Path, default=WEIGHTS, help="default: the shipped weights")


def run(args: argparse.Namespace) -> None:
    """Make the case, segment it, draw it and print the volumes."""
    ckpt_path = str(check_weights(args.ckpt_path))
    data = args.out / f"data_seed{args.seed}"
    datalist = ensure_data(data, (0, 0, 1), args.seed, workers=1)
    run_workflow("inference", dataset_dir=str(data), output_dir=str(args.out), ckpt_path=ckpt_path)
    for case in load_datalist(datalist, "testing", data):
        picture = args.out / f"{case['case']}.png"
        volumes_ml = draw_case(case, args.out, picture)
        print(f"{case['case']}: {describe(volumes_ml)}")
        print(f"picture: {picture}\nmasks and table: {args.out / case['case']}, {args.out / 'cases.csv'}")
