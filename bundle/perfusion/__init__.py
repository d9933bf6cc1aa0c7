"""Compare the maps that are computed from the phantom's series with its true ones, and write docs/results/perfusion.md.

Every seed is a patient and a scan of their own, with noise of 3 HU. The rows of the cases are written as they come, so
that `--resume` goes on where a run stopped.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from scripts.io import atomic_path

from ..steps import ROOT, commit, machine
from .cases import evaluate_seed
from .page import perfusion_page
from .picture import draw_truth

HELP = "compare computed maps with the phantom's true ones; write docs/results/perfusion.md"

NOISE_HU = 3.0
PICTURE_SEED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--cases", type=int, default=100, help="seeds 0 to N - 1 (default: 100)")
    parser.add_argument("--motion-cases", type=int, default=20, help="of them with injected motion (default: 20)")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each (default: 1)")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the table has already")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "perfusion.md", help="the page")


def run(args: argparse.Namespace) -> None:
    """Measure every seed; write the table, the picture and the page."""
    if args.cases < 1 or args.workers < 1:
        raise ValueError(f"expected --cases and --workers of at least 1, got {args.cases} and {args.workers}")
    code = commit()  # before the table, which the repository holds, is written
    table = args.out.with_suffix(".csv")
    kept = read_table(table) if args.resume and table.is_file() else []
    rows = {int(row["seed"]): row for row in kept if int(row["seed"]) < args.cases}
    missing = [seed for seed in range(args.cases) if seed not in rows]
    with tqdm(total=args.cases, initial=len(rows), desc="perfusion", unit="case") as progress:
        for row in measure(missing, args.motion_cases, args.workers):
            rows[row["seed"]] = row
            write_table(table, [rows[seed] for seed in sorted(rows)])
            progress.update()
    picture = args.out.parent.parent / "images" / "perfusion.png"
    draw_truth(PICTURE_SEED, NOISE_HU, picture)
    command = f"python -m bundle perfusion --cases {args.cases} --motion-cases {args.motion_cases}"
    page = perfusion_page(read_table(table), command, code, machine(), f"../images/{picture.name}", table.name)
    with atomic_path(args.out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"{args.cases} cases -> {args.out}, {table}, {picture}")


def measure(seeds: Sequence[int], motion_cases: int, workers: int) -> Iterator[dict[str, Any]]:
    """The rows of seeds, as they get ready."""
    evaluate = partial(_evaluate, motion_cases=motion_cases)
    if workers == 1:
        yield from map(evaluate, seeds)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for done in as_completed([pool.submit(evaluate, seed) for seed in seeds]):
            yield done.result()


def _evaluate(seed: int, motion_cases: int) -> dict[str, Any]:
    return evaluate_seed(seed, NOISE_HU, with_motion=seed < motion_cases)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table of cases."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of the cases, atomically; a cell that a row lacks stays empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
