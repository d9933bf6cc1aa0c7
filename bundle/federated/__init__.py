"""Train at three simulated hospitals with NVIDIA FLARE, beside each hospital alone and the pooled data."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from scripts.io import SECTIONS, atomic_path, load_datalist, write_datalist, write_json

from ..results import read_rows
from ..steps import DATALIST, ROOT, commit, machine, run_workflow
from .job import CONFIG, simulate, write_job
from .page import Comparison, federated_page, plot_comparison
from .sites import SITES, make_site

HELP = "train at three simulated hospitals with NVIDIA FLARE and compare; write docs/results/federated.md"

POOLED, FEDERATED = "pooled", "federated"
SETTINGS = "settings.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "federated", help="folder of data and runs")
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "results" / "federated.md", help="default: docs/results"
    )
    parser.add_argument(
        "--flare",
        type=Path,
        default=ROOT / ".venv-flare" / "bin" / "python",
        help="Python of an environment with NVIDIA FLARE; default: that of make env-flare",
    )
    parser.add_argument("--cases", type=int, nargs=3, default=(24, 2, 12), metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument("--seed", type=int, default=2018, help="of the first site; the next ones count on")
    parser.add_argument("--rounds", type=int, default=15, help="how often the weights are averaged (default 15)")
    parser.add_argument("--local-epochs", type=int, default=2, help="epochs of a site between two (default 2)")
    parser.add_argument("--matrix", type=int, default=96, help="pixels of a side of the slices (default 96)")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, of those without FLARE (default 2)")
    parser.add_argument("--features", type=int, nargs=5, default=(8, 16, 32, 64, 64), help="widths of the networks")


def run(args: argparse.Namespace) -> None:
    """Make the sites, train in three ways, evaluate every model at every site, and write the page.

    What an interrupted run with the same settings has done is taken up.
    """
    if min(args.rounds, args.local_epochs, args.jobs) < 1:
        raise ValueError(
            "rounds, local-epochs and jobs: expected at least 1, "
            f"got {args.rounds}, {args.local_epochs} and {args.jobs}"
        )
    data, runs = args.out / "data", args.out / "runs"
    settings = {key: getattr(args, key) for key in ("rounds", "local_epochs", "matrix", "seed")}
    settings |= {key: list(getattr(args, key)) for key in ("cases", "features")}
    if not (runs / SETTINGS).is_file() or json.loads((runs / SETTINGS).read_text(encoding="utf-8")) != settings:
        for folder in (data, runs):
            shutil.rmtree(folder, ignore_errors=True)
        write_json(runs / SETTINGS, settings)
    for index, site in enumerate(SITES):
        make_site(site, data / site.name, tuple(args.cases), args.seed + index, args.matrix)
    pool(data)
    shared = {"features": list(args.features), "image_size": args.matrix}
    epochs = args.rounds * args.local_epochs
    # The weights of the last epoch are what is compared: validation after each would choose nothing.
    training = {"epochs": epochs, "val_interval": epochs, "num_workers": 0, "elastic_probability": 0.0, "seed": 0}
    initial = initial_weights(runs / "initial.pt", **shared, seed=0)
    models = train_federated(args, initial, **shared, **training)
    models |= train_apart(args, initial, **shared, **training)
    rows = {}
    for name, weights in models.items():
        for site in SITES:
            output = runs / name / site.name
            where = {"dataset_dir": str(data / site.name), "ckpt_path": str(weights), "output_dir": str(output)}
            run_workflow("evaluate", **where, **shared, use_given_maps=True)
            rows[name, site.name] = read_rows(output / "metrics.csv")
    comparison = Comparison(
        rows=rows,
        sites=SITES,
        settings={**settings, "epochs": epochs},
        commit=commit(),
        machine=machine(),
    )
    picture = args.page.parent.parent / "images" / "federated.png"
    plot_comparison(comparison, picture)
    with atomic_path(args.page) as temporary:
        temporary.write_text(federated_page(comparison), encoding="utf-8")
    print(f"{len(rows)} evaluations -> {args.page}, {picture}")


def train_apart(args: argparse.Namespace, initial: Path, **overrides: Any) -> dict[str, Path]:
    """Train at each site alone and on the pooled data; returns the weights of the last epoch by name."""
    data, runs = args.out / "data", args.out / "runs"
    places = {POOLED: data, **{site.name: data / site.name for site in SITES}}  # the longest first

    def train(name: str) -> Path:
        own = folders(runs, name)
        keys = {**overrides, **own, "dataset_dir": str(places[name]), "pretrained": str(initial), "resume": True}
        command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(ROOT / CONFIG)]
        command += [part for key, value in keys.items() for part in (f"--{key}", str(value))]
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
        log = runs / f"{name}.log"
        with log.open("w", encoding="utf-8") as stream:
            status = subprocess.run(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False)
        if status.returncode != 0:
            raise OSError(f"the training of '{name}' ended with {status.returncode}: see {log}")
        return Path(own["ckpt_dir"]) / "checkpoint_last.pt"

    with ThreadPoolExecutor(args.jobs) as threads:
        return dict(zip(places, threads.map(train, places), strict=True))


def folders(runs: Path, name: str) -> dict[str, str]:
    """Where a training leaves its results."""
    return {"ckpt_dir": str(runs / name / "models"), "output_dir": str(runs / name / "log")}


def pool(data: Path) -> None:
    """Write a datalist of all sites' training and validation cases, which no hospital could have."""
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for site in SITES:
        for name, cases in sections.items():
            for case in json.loads((data / site.name / DATALIST).read_text(encoding="utf-8"))[name]:
                paths = {key: f"{site.name}/{value}" for key, value in case.items() if key not in ("case", "subject")}
                cases.append({**paths, "case": f"{site.name}_{case['case']}"})
    write_datalist(data / DATALIST, sections)
    load_datalist(data / DATALIST, SECTIONS[0], data)  # raises where a file is not where the list has it


def initial_weights(path: Path, seed: int, **overrides: Any) -> Path:
    """Write the weights that every training begins with."""
    set_determinism(seed)
    save(path, network(**overrides).state_dict())
    return path


def network(**overrides: Any) -> torch.nn.Module:
    """The network of the training's config."""
    parser = ConfigParser(ConfigParser.load_config_files(str(ROOT / CONFIG)))
    parser.update(overrides)
    return parser.get_parsed_content("network_def")


def save(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write weights as the bundle's checkpoints are."""
    with atomic_path(path) as temporary:
        torch.save(dict(weights), temporary)


def train_federated(args: argparse.Namespace, initial: Path, **overrides: Any) -> dict[str, Path]:
    """Run the job in FLARE's simulator; returns the averaged weights under their name."""
    runs = args.out / "runs" / FEDERATED
    if (runs / "model.pt").is_file():
        return {FEDERATED: runs / "model.pt"}
    shutil.rmtree(runs, ignore_errors=True)
    sites = {
        site.name: {"dataset_dir": str((args.out / "data" / site.name).resolve()), **folders(runs.resolve(), site.name)}
        for site in SITES
    }
    write_job(runs / "job", sites, initial, args.rounds, args.local_epochs, **overrides)
    average = simulate(args.flare, runs / "job", runs / "workspace", list(sites), args.rounds)
    averaged = network(**overrides)
    averaged.load_state_dict(torch.load(average, weights_only=True)["model"])  # counters of batches come as fractions
    save(runs / "model.pt", averaged.state_dict())
    return {FEDERATED: runs / "model.pt"}
