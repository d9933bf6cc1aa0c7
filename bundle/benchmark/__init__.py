"""Measure how fast a part of the bundle is, against what the machine can do at best, and print a table."""

import argparse
from collections.abc import Mapping
from types import ModuleType

from . import deconvolution

HELP = "measure speed and memory beside what the machine can do at best"

BENCHMARKS: Mapping[str, ModuleType] = {"deconvolution": deconvolution}
"""A benchmark is a module like a command, with `HELP`, `add_arguments(parser)` and `run(args)`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each benchmark."""
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, module in BENCHMARKS.items():
        module.add_arguments(benchmarks.add_parser(name, help=module.HELP, description=module.__doc__))


def run(args: argparse.Namespace) -> None:
    """Run one benchmark."""
    BENCHMARKS[args.benchmark].run(args)
