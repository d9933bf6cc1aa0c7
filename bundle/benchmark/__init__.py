"""Measure how fast each part of the bundle is, compared with what the machine can do at best, and show it.

A benchmark is a module with `HELP` and `measure(settings)`, named in `BENCHMARKS`; its docstring is its text on the
page.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import torch

from scripts.workflow.memory_reuse import keep_freed_memory

from ..provenance import ROOT, check_clean, command_line, commit, machine
from . import deconvolution, inference, normalisation, training
from .measure import Found, Record, Settings, write_record
from .page import rows_table, write_page

HELP = "measure speed and memory next to what the machine can do at best"

BENCHMARKS: dict[str, ModuleType] = {
    "normalisation": normalisation,
    "inference": inference,
    "training": training,
    "deconvolution": deconvolution,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    helps = [f"{name}: {module.HELP}" for name, module in BENCHMARKS.items()]
    parser.add_argument("benchmark", choices=["all", *BENCHMARKS], help="; ".join(helps))
    parser.add_argument("--device", type=_device, default=torch.device("cpu"), help="default: cpu")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of taking turns (default: 5)")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, to see that it works")
    parser.add_argument(
        "--dataset-dir",
        type=Path,
        default=ROOT / "data" / "cohort",
        help="data set with the test cases of the shipped weights; default: data/cohort",
    )
    parser.add_argument("--out", type=Path, help="JSON file; default: eval/benchmark_<BENCHMARK>.json")
    parser.add_argument("--page", type=Path, help="page in Markdown; default: next to the JSON file")


def _device(text: str) -> torch.device:
    try:
        return torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"expected a device such as cpu or cuda:0, got {text!r}") from error


def run(args: argparse.Namespace) -> None:
    """Run benchmarks: print their tables, write a JSON file, and make a page with plots of it."""
    out = args.out or ROOT / "eval" / f"benchmark_{args.benchmark}.json"
    page = args.page or out.with_suffix(".md")
    check_clean(page, commit())
    shown = command_line(f"benchmark {args.benchmark}", args.quick, {"device": args.device, "repeats": args.repeats})
    names = list(BENCHMARKS) if args.benchmark == "all" else [args.benchmark]
    record = measure(names, Settings(args.device, args.repeats, args.quick, args.dataset_dir), out, shown)
    write_page(page, record, BENCHMARKS)
    print(*(f"{name}\n\n{rows_table(found)}" for name, found in record.found.items()), f"{out}\n{page}", sep="\n\n")


def measure(names: Sequence[str], settings: Settings, out: Path, command: str) -> Record:
    """Run benchmarks one after the other, and write what was found so far after each.

    Each runs in a process of its own: what one leaves in the allocator slows the next by more than a half.

    Args:
        names: keys of `BENCHMARKS`.
        settings: what each is told.
        out: the JSON file.
        command: as the page shows it.

    Raises:
        ValueError: there is no such device, or there are no rounds.
    """
    if settings.device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected one that is available, got cuda")
    if settings.rounds < 1:
        raise ValueError(f"repeats: expected at least 1, got {settings.rounds}")
    record = Record(command, commit(), machine(), settings.device.type, settings.rounds, settings.quick, {})
    for name in names:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare) as process:
            found = process.submit(found_by, name, settings).result()
        record = record._replace(found={**record.found, name: found})
        write_record(out, record)
    return record


def prepare() -> None:
    """Prepare a process that measures."""
    torch.set_num_threads(1)  # process time is then the time of the work
    keep_freed_memory()  # floors and ours alike: else the system's clearing of pages is most of what is measured
    torch.manual_seed(0)


def found_by(name: str, settings: Settings) -> Found:
    """What a benchmark finds, in this process."""
    found: Found = BENCHMARKS[name].measure(settings)
    return found
