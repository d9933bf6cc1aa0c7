"""Measure the shipped weights and the thresholds on cases that none of them has seen, and write the results page."""

import argparse
import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from scripts.io import SECTIONS, atomic_path
from scripts.metrics import CLINICAL_RULES, METRICS, ThresholdRule, best_rule, case_metrics

from .plots import plot_results
from .report import Method, Provenance, results_page
from .steps import (
    PHANTOM,
    ROOT,
    WEIGHTS,
    check_weights,
    commit,
    describe_data,
    ensure_data,
    load_cases,
    machine,
    run_workflow,
)

HELP = "evaluate the shipped weights and the thresholds; write docs/results.md"

COHORT, COUNTS, SEED = ROOT / "data" / "cohort", (160, 12, 40), 2018
"""The cohort of the shipped weights: its training cases made them, its test cases were seen by nobody."""
REMARKS = "remarks.md"
"""What a person says of the results, in the folder beside the page; it goes to the page's end."""


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
    parser.add_argument("--metrics", type=Path, help="take this metrics.csv in the place of a new evaluation")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results.md", help="default: docs/results.md")


def run(args: argparse.Namespace) -> None:
    """Evaluate, compare, and write the page with its picture."""
    check_weights(args.ckpt_path)
    datalist = ensure_data(args.dataset_dir, COUNTS, SEED)
    methods = [Method("this bundle", network_rows(args))]
    training = load_cases(args.dataset_dir, datalist, SECTIONS[0])
    chosen, chosen_dice = best_rule(tqdm(training, desc="best threshold, training cases", unit="case"))
    testing = load_cases(args.dataset_dir, datalist, SECTIONS[2])
    oracle, _ = best_rule(tqdm(testing, desc="best threshold, test cases", unit="case"))
    rules = {"chosen threshold": chosen, **{str(rule): rule for rule in CLINICAL_RULES}, "oracle threshold": oracle}
    rows = threshold_rows(rules, load_cases(args.dataset_dir, datalist, SECTIONS[2]))
    methods += [Method(title, rows[title]) for title in rules]
    check_same_cases(methods)
    provenance = Provenance(
        commit=commit(),
        machine=machine(),
        weights_sha256=hashlib.sha256(args.ckpt_path.read_bytes()).hexdigest(),
        data=describe_data(args.dataset_dir),
        chosen=str(chosen),
        chosen_dice=chosen_dice,
        oracle=str(oracle),
        synthetic=(args.dataset_dir / PHANTOM).is_file(),
    )
    picture = args.out.parent / "images" / "results.png"
    plot_results(methods, picture)
    remarks = args.out.with_suffix("") / REMARKS
    page = results_page(
        methods,
        provenance,
        picture.relative_to(args.out.parent),
        remarks.read_text(encoding="utf-8") if remarks.is_file() else "",
    )
    with atomic_path(args.out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"{len(methods[0].rows)} cases -> {args.out}, {picture}")


def network_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the network: those of a file, or of a new evaluation."""
    if args.metrics is not None:
        return read_rows(args.metrics)
    run_workflow(
        "evaluate",
        dataset_dir=str(args.dataset_dir),
        output_dir=str(args.eval_dir),
        ckpt_path=str(args.ckpt_path),
        use_given_maps=True,  # those that the thresholds are applied to
    )
    return read_rows(args.eval_dir / "metrics.csv")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a metrics.csv as :class:`scripts.metrics.CaseMetrics` writes it; an empty cell is NaN.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it has no rows, or a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"case", *METRICS} <= set(rows[0]):
        raise ValueError(f"metrics '{path}': expected rows with the columns case, {', '.join(METRICS)}")
    return [{"case": row["case"]} | {name: float(row[name] or np.nan) for name in METRICS} for row in rows]


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
