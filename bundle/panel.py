"""A picture of one case of a datalist with its results."""

import argparse
from pathlib import Path

from scripts.io import SECTIONS, load_datalist
from scripts.report.lesion_panel import describe, draw_case

HELP = "draw a picture of one case with its results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--dataset-dir", type=Path, required=True, help="folder of the cases")
    parser.add_argument("--datalist", type=Path, help="default: DATASET_DIR/datalist.json")
    parser.add_argument("--section", default=SECTIONS[-1], help="default: testing")
    parser.add_argument("--case", help="name of the case; default: the first of the section")
    parser.add_argument("--results", type=Path, required=True, help="output_dir of the inference")
    parser.add_argument("--out", type=Path, help="default: RESULTS/CASE/CASE_panel.png")


def run(args: argparse.Namespace) -> None:
    """Draw the picture that the arguments ask for."""
    datalist = args.datalist or args.dataset_dir / "datalist.json"
    cases = {case["case"]: case for case in load_datalist(datalist, args.section, args.dataset_dir, check=False)}
    name = args.case or next(iter(cases))
    if name not in cases:
        raise ValueError(f"case: expected one of section '{args.section}' ({', '.join(cases)}), got '{name}'")
    out = args.out or args.results / name / f"{name}_panel.png"
    volumes = draw_case(cases[name], args.results, out)
    print(f"{describe(volumes)} -> {out}")
