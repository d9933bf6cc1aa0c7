"""Check a bundle as the MONAI model zoo does, and for what its pages ask besides; no check is left out.

Nothing is asked of the internet unless `--online` is given.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..provenance import ROOT
from . import checks
from .probe import run_probe

HELP = "check the bundle as the model zoo's CI does"


class Outcome(NamedTuple):
    """The name of a check, whether it passed, and what was found or is wrong."""

    name: str
    passed: bool
    detail: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--bundle-dir", type=Path, default=ROOT, help="the bundle; default: this one")
    parser.add_argument("--model-info", type=Path, help="the zoo's model_info.json: the version must not be in it")
    parser.add_argument("--online", action="store_true", help="also ask the package index and the published schema")


def run(args: argparse.Namespace) -> None:
    """Print a line for each check; raise a ValueError where one failed."""
    failed = []
    for outcome in verify(args.bundle_dir, online=args.online, model_info=args.model_info):
        print(f"{'ok' if outcome.passed else 'FAILED':8}{outcome.name:26}{outcome.detail}", flush=True)
        failed += [] if outcome.passed else [outcome.name]
    if failed:
        raise ValueError(f"{len(failed)} of the checks of '{args.bundle_dir}' failed: {', '.join(failed)}")


def verify(root: Path, *, online: bool = False, model_info: Path | None = None) -> Iterator[Outcome]:
    """Run the checks of a bundle one after the other.

    Args:
        root: folder of the bundle.
        online: also ask the package index for the requirements, and validate against the published schema.
        model_info: the zoo's list of released bundles.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = root.resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"bundle_dir '{root}': expected a bundle, got no folder")
    each: dict[str, Callable[[Path], str]] = {
        "required files": checks.check_required,
        "config names": checks.check_config_names,
        "file sizes": checks.check_sizes,
        "JSON format": checks.check_json_format,
        "version": partial(checks.check_version, model_info=model_info),
        "model card": checks.check_model_card,
        "requirements": checks.check_pins,
        **({"package index": checks.check_index} if online else {}),
    }
    for name, check in each.items():
        try:
            yield Outcome(name, True, check(root))
        except (ValueError, OSError) as error:  # a json.JSONDecodeError is a ValueError
            yield Outcome(name, False, " ".join(str(error).split()))
    for name, problem in run_probe(root, online=online).items():
        yield Outcome(name, not problem, problem)
