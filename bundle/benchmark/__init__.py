"""Measure how fast each part of the bundle is, compared with what the machine can do at best.

A benchmark is a module of `BENCHMARKS`. Its `measure(settings)` yields what to time (`Group`), numbers (`Figure`) and
times that it took itself (`Measurement`); its docstring is its text on the page.
"""

import argparse
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.benchmark import Compare, Measurement
from tqdm import tqdm

from scripts.io import write_json
from scripts.workflow.memory_reuse import keep_freed_memory

from .. import markdown
from ..provenance import ROOT, check_clean, command_line, commit, machine
from . import inference, maps, normalization, stages, training
from .measure import Figure, Settings, figures, timed

HELP = "measure speed and memory next to what the machine can do at best"

BENCHMARKS: Mapping[str, ModuleType] = {
    "normalization": normalization,
    "inference": inference,
    "training": training,
    "maps": maps,
    "stages": stages,
}
PREFACE = (
    "On {machine}. Times are medians by `torch.utils.benchmark` in one process, in which the alternatives take turns; "
    "{clock}. Ratios are those of times. A *floor* is what the machine itself needs at least. A number that misses its "
    "limit is **bold**. Inputs are synthetic."
)
QUICK = "**A quick run at the smallest sizes: it shows that the benchmarks work, and no speed.**"


class Found(NamedTuple):
    """What one benchmark found."""

    times: list[Measurement]
    figures: list[Figure]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    helps = [f"{name}: {(module.__doc__ or '').splitlines()[0]}" for name, module in BENCHMARKS.items()]
    parser.add_argument("benchmark", choices=["all", *BENCHMARKS], help=" ".join(helps))
    parser.add_argument("--device", type=_device, default=torch.device("cpu"), help="default: cpu")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of taking turns (default: 5)")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, to see that it works")
    parser.add_argument(
        "--dataset-dir",
        type=Path,
        default=ROOT / "data" / "cohort",
        help="data set with the test cases of the shipped weights; default: data/cohort",
    )
    parser.add_argument("--out", type=Path, help="JSON file; default: eval/benchmark_<BENCHMARK>.json; its page: .md")


def _device(text: str) -> torch.device:
    try:
        return torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"expected a device such as cpu or cuda:0, got {text!r}") from error


def run(args: argparse.Namespace) -> None:
    """Run benchmarks, each in a process of its own, and write what was found so far after each.

    Raises:
        ValueError: there is no such device, there are no rounds, or a page of `docs` would name no clean commit.
    """
    if args.device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected one that is available, got cuda")
    if args.repeats < 1:
        raise ValueError(f"repeats: expected at least 1, got {args.repeats}")
    out = args.out or ROOT / "eval" / f"benchmark_{args.benchmark}.json"
    check_clean(out, code := commit())
    shown = command_line(f"benchmark {args.benchmark}", args.quick, {"device": args.device, "repeats": args.repeats})
    made = {"command": shown, "commit": code, "machine": machine(), "device": args.device.type, "quick": args.quick}
    settings = Settings(args.device, args.repeats, args.quick, args.dataset_dir)
    found: dict[str, Found] = {}
    for name in BENCHMARKS if args.benchmark == "all" else [args.benchmark]:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare) as process:
            found[name] = process.submit(found_by, name, settings).result()
        print(times_table(found[name].times), figures_table(found[name].figures), sep="\n")
        write(out, made, found)
    print(f"{out}\n{out.with_suffix('.md')}")


def prepare() -> None:
    """Prepare a process: what a benchmark leaves in the allocator slows the next one by more than a half."""
    torch.set_num_threads(1)  # process time is then the time of the work
    keep_freed_memory()  # floors and ours alike: else the system's clearing of pages is most of what is measured
    torch.manual_seed(0)


def found_by(name: str, settings: Settings) -> Found:
    """What a benchmark finds, in this process."""
    found = Found([], [])
    for item in tqdm(BENCHMARKS[name].measure(settings), desc=name, unit="part"):
        if isinstance(item, Figure):
            found.figures.append(item)
        elif isinstance(item, Measurement):
            found.times.append(item)
        else:
            times = timed(item, settings)
            found.times.extend(times.values())
            found.figures.extend(figures(item, times, settings))
    return found


def write(out: Path, made: Mapping[str, object], found: Mapping[str, Found]) -> None:
    """Write what was found as JSON, with quartiles of the times in ms, and as a page in Markdown next to it."""
    write_json(out, {**made, "benchmarks": {name: _plain(each) for name, each in found.items()}})
    sections = []
    for name, each in found.items():
        text = (BENCHMARKS[name].__doc__ or "").strip()
        sections += [f"## {name.capitalize()}", text, f"```text\n{times_table(each.times)}\n```"]
        sections.append(figures_table(each.figures))
    clock = "process time at one thread" if made["device"] == "cpu" else "by the clock, after all work of the device"
    preface = PREFACE.format(machine=made["machine"], clock=clock)
    how = ["## How this was made", markdown.bullets([f"command: `{made['command']}`", f"commit: `{made['commit']}`"])]
    page = markdown.page("Performance", QUICK if made["quick"] else "", preface, verdict(found), *sections, *how)
    markdown.write_text(out.with_suffix(".md"), page)


def _plain(found: Found) -> dict[str, object]:
    times: dict[str, dict[str, list[float]]] = {}
    for each in found.times:
        quartiles_ms = 1000 * np.quantile(each.times, [0.25, 0.5, 0.75])
        row = times.setdefault(str(each.task_spec.sub_label), {})
        row[str(each.task_spec.description)] = [float(f"{value:.4g}") for value in quartiles_ms]
    return {"times_ms": times, "figures": [each._asdict() for each in found.figures]}


def times_table(times: Iterable[Measurement]) -> str:
    """The table of `torch.utils.benchmark.Compare`, which marks times that vary much."""
    table = Compare(list(times))
    table.trim_significant_figures()
    table.highlight_warnings()
    return "\n".join(line.rstrip() for line in str(table).strip().splitlines())


def figures_table(found: Iterable[Figure]) -> str:
    """The table of numbers, if there are some."""
    rows = [[each.what, shown(each), "" if each.limit is None else f"≤ {each.limit:.3g}"] for each in found]
    return markdown.table(["", "found", "wanted"], rows) if rows else ""


def shown(figure: Figure) -> str:
    """A figure to three digits with its unit, bold if it misses its limit."""
    number = f"{figure.value:.3g}" if abs(figure.value) < 1000 else f"{figure.value:,.0f}"
    text = f"{number} {figure.unit}".rstrip()
    return text if figure.met else f"**{text}**"


def verdict(found: Mapping[str, Found]) -> str:
    """How many limits are kept, and the figures that miss theirs."""
    limited = [(name, figure) for name, each in found.items() for figure in each.figures if figure.limit is not None]
    missed = [f"{name}, {each.what}: {shown(each)} (≤ {each.limit:.3g})" for name, each in limited if not each.met]
    kept = f"{len(limited) - len(missed)} of {len(limited)} limits are kept."
    return f"{kept} Missed:\n\n{markdown.bullets(missed)}" if missed else kept
