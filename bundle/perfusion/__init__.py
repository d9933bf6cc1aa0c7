"""Compare the maps that are computed from the phantom's series with its true ones, and write docs/results/perfusion.md.

Every seed is a patient and a scan of their own, with noise of 3 HU. With `--robustness`, the volumes of each case are
compared with those of the same patient scanned otherwise, for docs/results/perfusion_robustness.md. The rows of the
cases are written as they come, so that `--resume` goes on where a run stopped.
"""

import argparse
import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..markdown import write_text
from ..provenance import DOCS, check_clean, commit, machine
from .accuracy_page import accuracy_page
from .cases import NOISE_HU, draw_truth, evaluate_seed
from .robustness import evaluate_case
from .robustness_page import robustness_page

HELP = "compare computed maps with the phantom's true ones; write docs/results/perfusion.md"

PICTURE_SEED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--robustness", action="store_true", help="write docs/results/perfusion_robustness.md instead")
    parser.add_argument("--cases", type=int, help="seeds 0 to N - 1 (default: 100; 20 with --robustness)")
    parser.add_argument("--motion-cases", type=int, default=20, help="of them with injected motion (default: 20)")
    parser.add_argument("--workers", "--jobs", type=int, default=1, help="processes of one thread each (default: 1)")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the table has already")
    parser.add_argument("--out", type=Path, help="the page (default: in docs/results)")


def run(args: argparse.Namespace) -> None:
    """Measure every seed; write the table, the picture and the page."""
    cases = (20 if args.robustness else 100) if args.cases is None else args.cases
    if cases < 1 or args.workers < 1:
        raise ValueError(f"expected --cases and --workers of at least 1, got {cases} and {args.workers}")
    name = "perfusion_robustness.md" if args.robustness else "perfusion.md"
    out: Path = args.out or DOCS / "results" / name
    check_clean(out, found := commit())
    table = out.with_suffix(".csv")
    options = "--robustness" if args.robustness else f"--motion-cases {args.motion_cases}"
    made_by = [f"command: `python -m bundle perfusion --cases {cases} {options}`", f"commit: `{found}`"]
    made_by += [f"machine: {machine()}", f"every case: [`{table.name}`]({table.name})"]
    if args.robustness:
        collect(table, evaluate_case, cases, args.workers, args.resume)
        page = robustness_page(read_table(table), made_by)
    else:
        collect(table, partial(_evaluate, motion_cases=args.motion_cases), cases, args.workers, args.resume)
        picture = out.parent.parent / "images" / "perfusion.png"
        draw_truth(PICTURE_SEED, NOISE_HU, picture)
        page = accuracy_page(read_table(table), made_by, f"../images/{picture.name}")
    write_text(out, page)
    print(f"{cases} cases -> {out}, {table}")


Evaluate = Callable[[int], list[dict[str, Any]]]


def collect(table: Path, evaluate: Evaluate, cases: int, workers: int, resume: bool) -> None:
    """Write the rows of the seeds 0 to `cases` - 1 into a table, after each seed anew; keep those there to resume."""
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for row in read_table(table) if resume and table.is_file() else []:
        if int(row["seed"]) < cases:
            rows.setdefault(int(row["seed"]), []).append(row)
    missing = [seed for seed in range(cases) if seed not in rows]
    with tqdm(total=cases, initial=len(rows), desc="perfusion", unit="case") as progress:
        for some in measure(evaluate, missing, workers):
            rows[some[0]["seed"]] = list(some)
            write_table(table, [row for seed in sorted(rows) for row in rows[seed]])
            progress.update()


def measure(evaluate: Evaluate, seeds: Sequence[int], workers: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of each seed, as they get ready."""
    if workers == 1:
        yield from map(evaluate, seeds)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for done in as_completed([pool.submit(evaluate, seed) for seed in seeds]):
            yield done.result()


def _evaluate(seed: int, motion_cases: int) -> list[dict[str, Any]]:
    return [evaluate_seed(seed, NOISE_HU, with_motion=seed < motion_cases)]


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table of cases."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of the cases, atomically; a cell that a row lacks stays empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())
