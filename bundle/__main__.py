"""Command line of the maker's side: ``python -m bundle COMMAND``.

A command is a module with `HELP`, `add_arguments(parser)` and `run(args)`, named in `COMMANDS`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from . import benchmark, experiments, export, federated, nnunet, package, perfusion, results, ship, verify

COMMANDS: Mapping[str, ModuleType] = {
    "benchmark": benchmark,
    "experiments": experiments,
    "export": export,
    "federated": federated,
    "nnunet": nnunet,
    "package": package,
    "perfusion": perfusion,
    "results": results,
    "ship": ship,
    "verify": verify,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, or 2 with the problem on stderr."""
    parser = argparse.ArgumentParser(prog="python -m bundle", description="Build, measure and show the bundle.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.__doc__))
    args = parser.parse_args(argv)
    try:
        COMMANDS[args.command].run(args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
