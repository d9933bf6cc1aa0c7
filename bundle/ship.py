"""Copy trained weights to `models/model.pt` and record their SHA-256 in `models/provenance.json`."""

import argparse
import json
import shutil
from pathlib import Path

from scripts.io.atomic import atomic_path, write_json
from scripts.io.origin import sha256

from .provenance import ROOT

HELP = "make trained weights the ones that ship"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("weights", type=Path, help="model.pt of a training run")


def run(args: argparse.Namespace) -> None:
    """Ship the weights of the arguments."""
    print(f"{args.weights} -> models/model.pt, SHA-256 {ship(args.weights)}")


def ship(weights: Path, models: Path = ROOT / "models") -> str:
    """Replace the weights in `models`, then their record; until both agree the weights are refused.

    Returns:
        The SHA-256 of the weights.

    Raises:
        FileNotFoundError: there are no weights.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"weights '{weights}': expected the file of a training run, got nothing there")
    record = json.loads((models / "provenance.json").read_text(encoding="utf-8"))
    with atomic_path(models / "model.pt") as temporary:
        shutil.copyfile(weights, temporary)
    digest = sha256(models / "model.pt")
    record["weights"]["sha256"] = digest
    write_json(models / "provenance.json", record)
    return digest
