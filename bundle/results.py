"""Measure the shipped weights and the thresholds on cases that none of them has seen, and write the results page."""

import argparse
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scripts.io import SECTIONS
from scripts.metrics import CLINICAL_RULES, ThresholdRule, best_rule, case_metrics
from scripts.phantom import ensure_cohort

from .case_rows import read_rows
from .data import PHANTOM, describe_data, load_cases
from .markdown import write_text
from .plots import plot_results
from .provenance import DOCS, ROOT, check_clean, commit, machine
from .results_page import EMPTY_MASKS, SYNTHETIC, Method, results_page
from .run import WEIGHTS, check_weights, run_workflow

HELP = "evaluate the shipped weights and the thresholds; write docs/results.md"

COHORT, COUNTS, SEED = ROOT / "data" / "cohort", (160, 12, 40), 2018
"""The cohort of the shipped weights: its training cases made them, its test cases were seen by nobody."""
REMARKS = "remarks.md"
"""What a person says of the results, next to the page; it becomes the end of the page."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--dataset-dir",
        type=Path,
        default=COHORT,
        help="data set: the best threshold is chosen on its section training, everything is measured on its section "
        f"testing; default: data/cohort, the phantom of {'/'.join(map(str, COUNTS))} cases with seed {SEED}",
    )
    parser.add_argument("--ckpt-path", type=Path, default=WEIGHTS, help="weights to evaluate")
    parser.add_argument("--eval-dir", type=Path, default=ROOT / "eval" / "results", help="folder for metrics.csv")
    parser.add_argument("--out", type=Path, default=DOCS / "results.md", help="default: docs/results.md")


def run(args: argparse.Namespace) -> None:
    """Evaluate, compare, and write the page with its picture."""
    check_weights(args.ckpt_path)
    check_clean(args.out, found := commit())
    datalist = ensure_cohort(args.dataset_dir, COUNTS, SEED)
    methods = [Method("this bundle", network_rows(args))]
    training = load_cases(args.dataset_dir, datalist, SECTIONS[0])
    chosen, chosen_dice = best_rule(tqdm(training, desc="best threshold, training cases", unit="case"))
    testing = load_cases(args.dataset_dir, datalist, SECTIONS[2])
    oracle, _ = best_rule(tqdm(testing, desc="best threshold, test cases", unit="case"))
    rules = {"chosen threshold": chosen, **{str(rule): rule for rule in CLINICAL_RULES}, "oracle threshold": oracle}
    rows = threshold_rows(rules, load_cases(args.dataset_dir, datalist, SECTIONS[2]))
    methods += [Method(title, rows[title]) for title in rules]
    check_same_cases(methods)
    data = describe_data(args.dataset_dir)
    synthetic = SYNTHETIC * (args.dataset_dir / PHANTOM).is_file()
    introduction = (
        f"Measured on the {len(methods[0].rows)} test cases of {data}, on which neither the weights were trained nor a "
        "threshold chosen, save the oracle's. Tables give mean ± standard deviation over cases, on the grid of each "
        f"case.{synthetic}\n\nThe *chosen threshold*, {chosen}, has the highest mean Dice on training cases; the "
        f"*oracle threshold*, {oracle}, has the highest on these test cases themselves."
    )
    sha256 = hashlib.sha256(args.ckpt_path.read_bytes()).hexdigest()
    made_by = [
        "command: `python -m bundle results`",
        f"commit: `{found}`; weights: `models/model.pt`, SHA-256 `{sha256}`",
        f"machine: {machine()}",
        f"data: {data}",
        "the threshold was chosen among those of `scripts.metrics.threshold_grid` by its mean Dice, "
        f"{chosen_dice:.3f}, on the section `training`; everything else was measured on `testing`",
        f"thresholds drop components below 1 ml; {EMPTY_MASKS}",
    ]
    picture = args.out.parent / "images" / "results.png"
    plot_results(methods, picture)
    remarks = args.out.with_name(REMARKS)
    said = remarks.read_text(encoding="utf-8") if remarks.is_file() else ""
    page = results_page(methods, introduction, made_by, picture.relative_to(args.out.parent), said)
    write_text(args.out, page)
    print(f"{len(methods[0].rows)} cases -> {args.out}, {picture}")


def network_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the network, by `configs/evaluate.json`."""
    places = {"dataset_dir": args.dataset_dir, "output_dir": args.eval_dir, "ckpt_path": args.ckpt_path}
    overrides: dict[str, Any] = {key: str(path) for key, path in places.items()}
    run_workflow("evaluate", **overrides, use_given_maps=True)  # those that the thresholds are applied to
    return read_rows(args.eval_dir / "metrics.csv")


def threshold_rows(
    rules: Mapping[str, ThresholdRule], cases: Iterable[Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """The rows of each rule over the cases, which are gone through once."""
    rows: dict[str, list[dict[str, Any]]] = {key: [] for key in rules}
    for case in tqdm(cases, desc="thresholds", unit="case"):
        for key, rule in rules.items():
            mask = rule.predict(case, case["spacing_mm"])
            rows[key].append({"case": case["case"], **case_metrics(mask, case["label"], case["spacing_mm"])})
    return rows


def check_same_cases(methods: Sequence[Method]) -> None:
    """Raise a ValueError unless all methods were measured on the same cases; sort them into the order of the first."""
    names = [row["case"] for row in methods[0].rows]
    for method in methods:
        if sorted(row["case"] for row in method.rows) != sorted(names):
            raise ValueError(f"{method.title}: expected the {len(names)} cases of '{methods[0].title}', got others")
        method.rows.sort(key=lambda row: names.index(row["case"]))
