"""Run benchmarks: print their tables, write a JSON file, and make a page with plots of it.

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

from scripts.workflow.memory import keep_freed_memory

from ..steps import ROOT, command_line, commit, machine
from . import compare, deconvolution, inference, loading, normalisation, phantom, training
from .floors import machine_floors
from .measurement import Found, Record, Settings, merged, read_record, write_record
from .page import describe, write_page
from .timing import one_thread

HELP = "measure speed and memory beside what the machine can do at best"

BENCHMARKS: dict[str, ModuleType] = {
    "normalisation": normalisation,
    "inference": inference,
    "training": training,
    "deconvolution": deconvolution,
    "loading": loading,
    "phantom": phantom,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each benchmark, for all of them, and for what is done with their files."""
    commands = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, module in BENCHMARKS.items():
        _add_measuring(commands.add_parser(name, help=module.HELP, description=module.__doc__))
    _add_measuring(commands.add_parser("all", help="all of them", description=__doc__))
    compare.add_arguments(commands.add_parser("compare", help=compare.HELP, description=compare.__doc__))
    page = commands.add_parser("page", help="make one page of the JSON files of earlier runs")
    page.add_argument("records", type=Path, nargs="+", help="JSON files; a later one's benchmarks replace an earlier's")
    page.add_argument("--page", type=Path, help="where to; default: beside the first JSON file")


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=_device, default=torch.device("cpu"), help="default: cpu")
    parser.add_argument("--repeats", type=int, default=9, help="rounds of alternating runs (default: 9)")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, to see that it works")
    parser.add_argument(
        "--dataset-dir",
        type=Path,
        default=ROOT / "data" / "cohort",
        help="data set with the test cases of the shipped weights; default: data/cohort",
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file; default: eval/benchmark.json, or with the benchmark's name"
    )
    parser.add_argument("--page", type=Path, help="page in Markdown; default: beside the JSON file")


def _device(text: str) -> torch.device:
    try:
        return torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"expected a device such as cpu or cuda:0, got {text!r}") from error


def run(args: argparse.Namespace) -> None:
    """Run benchmarks, or do something with the files of earlier runs."""
    if args.benchmark == "compare":
        compare.run(args)
    elif args.benchmark == "page":
        record = merged([read_record(path) for path in args.records])
        write_page(args.page or args.records[0].with_suffix(".md"), record, BENCHMARKS)
    else:
        _measure(args)


def _measure(args: argparse.Namespace) -> None:
    names = list(BENCHMARKS) if args.benchmark == "all" else [args.benchmark]
    suffix = "" if args.benchmark == "all" else f"_{args.benchmark}"
    out = args.out or ROOT / "eval" / f"benchmark{suffix}.json"
    record = measure(names, Settings(args.device, args.repeats, args.quick, args.dataset_dir), out, _shown(args))
    page = args.page or out.with_suffix(".md")
    write_page(page, record, BENCHMARKS)
    print(describe(names, record), f"{out}\n{page}", sep="\n\n")


def _shown(args: argparse.Namespace) -> str:
    options = {"device": args.device, "repeats": args.repeats}
    return command_line(f"benchmark {args.benchmark}", args.quick, options)


def measure(names: Sequence[str], settings: Settings, out: Path, command: str) -> Record:
    """Run benchmarks one after the other, and write what was found so far after each.

    Several run in a process of their own each: what one leaves in the allocator slows the next by more than a half.

    Args:
        names: keys of `BENCHMARKS`.
        settings: what each is told.
        out: the JSON file.
        command: as the page shows it.

    Raises:
        ValueError: there is no such device.
    """
    if settings.device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected one that is at hand, got cuda")
    _prepare()
    floors = machine_floors(settings.device, settings.quick)
    found: dict[str, Found] = {}
    for name in names:
        found[name] = _found(name, settings) if len(names) == 1 else _found_apart(name, settings)
        record = Record(
            command, commit(), machine(), settings.device.type, floors, settings.repeats, settings.quick, found
        )
        write_record(out, record)
    return read_record(out)


def _prepare() -> None:
    """Make ready a process that measures."""
    one_thread()
    keep_freed_memory()  # floors and ours alike: else the system's clearing of pages is most of what is measured
    torch.manual_seed(0)


def _found(name: str, settings: Settings) -> Found:
    found: Found = BENCHMARKS[name].measure(settings)
    return found


def _found_apart(name: str, settings: Settings) -> Found:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_prepare) as process:
        return process.submit(_found, name, settings).result()
