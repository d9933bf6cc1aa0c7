"""Train at three simulated hospitals with NVIDIA FLARE, next to each hospital alone and the pooled data."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from scripts.io import SECTIONS, atomic_path, load_datalist, write_datalist, write_json
from scripts.metrics import by_stratum
from scripts.metrics.strata import ANY_LESION

from ..case_rows import read_rows
from ..data import DATALIST
from ..markdown import bullets, page, table, write_text
from ..provenance import ROOT, check_clean, commit, machine
from ..run import run_workflow
from .sites import SITES, make_site

HELP = "train at three simulated hospitals with NVIDIA FLARE and compare; write docs/results/federated.md"

CONFIG, METRIC = "configs/train.json", "val_mean_dice"
POOLED, FEDERATED = "pooled", "federated"
SETTINGS = "settings.json"
NAMES = [site.name for site in SITES]
Rows = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""The rows of the test cases by model and by site."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "federated", help="folder of data and runs")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "federated.md", help="page to write")
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
    parser.add_argument("--jobs", type=int, default=2, help="training runs at a time, those without FLARE (default 2)")
    parser.add_argument("--features", type=int, nargs=5, default=(8, 16, 32, 64, 64), help="widths of the networks")


def run(args: argparse.Namespace) -> None:
    """Make the sites, train in three ways, evaluate every model at every site, and write the page.

    What an interrupted run with the same settings has done is resumed.
    """
    if min(args.rounds, args.local_epochs, args.jobs) < 1:
        got = f"{args.rounds}, {args.local_epochs} and {args.jobs}"
        raise ValueError(f"rounds, local-epochs and jobs: expected at least 1, got {got}")
    check_clean(args.page, commit())
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
    set_determinism(0)
    initial = save(runs / "initial.pt", network(**shared).state_dict())
    models = {FEDERATED: train_federated(args, initial, **shared, **training)}
    models |= train_apart(args, initial, **shared, **training)
    rows = {}
    for name, weights in models.items():
        for site in SITES:
            output = runs / name / site.name
            where: dict[str, Any] = {
                "dataset_dir": str(data / site.name),
                "ckpt_path": str(weights),
                "output_dir": str(output),
            }
            run_workflow("evaluate", **where, **shared, use_given_maps=True)
            rows[name, site.name] = read_rows(output / "metrics.csv")
    write_text(args.page, federated_page(rows, {**settings, "epochs": epochs}, f"commit {commit()}, {machine()}"))
    print(f"{len(rows)} evaluations -> {args.page}")


def pool(data: Path) -> None:
    """Write a datalist of all sites' training and validation cases, which no hospital could have."""
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for site in NAMES:
        for name, cases in sections.items():
            for case in json.loads((data / site / DATALIST).read_text(encoding="utf-8"))[name]:
                paths = {key: f"{site}/{value}" for key, value in case.items() if key not in ("case", "subject")}
                cases.append({**paths, "case": f"{site}_{case['case']}"})
    write_datalist(data / DATALIST, sections)
    load_datalist(data / DATALIST, SECTIONS[0], data)  # raises where a file is not where the list has it


def network(**overrides: Any) -> torch.nn.Module:
    """The network of the training's config."""
    return _config(**overrides).get_parsed_content("network_def")


def _config(**overrides: Any) -> ConfigParser:
    parser = ConfigParser(ConfigParser.load_config_file(ROOT / CONFIG))
    parser.update(overrides)
    return parser


def save(path: Path, weights: Mapping[str, torch.Tensor]) -> Path:
    """Write weights as the bundle's checkpoints are."""
    with atomic_path(path) as temporary:
        torch.save(dict(weights), temporary)
    return path


def train_apart(args: argparse.Namespace, initial: Path, **overrides: Any) -> dict[str, Path]:
    """Train at each site alone and on the pooled data; returns the weights of the last epoch by name."""
    data, runs = args.out / "data", args.out / "runs"
    places = {POOLED: data, **{name: data / name for name in NAMES}}  # the longest first

    def train(name: str) -> Path:
        own = folders(runs, name)
        keys = {**overrides, **own, "dataset_dir": str(places[name]), "pretrained": str(initial), "resume": True}
        command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(ROOT / CONFIG)]
        command += [part for key, value in keys.items() for part in (f"--{key}", str(value))]
        log = runs / f"{name}.log"
        if logged(command, log) != 0:
            raise OSError(f"the training run of '{name}' failed: see {log}")
        return Path(own["ckpt_dir"]) / "checkpoint_last.pt"

    with ThreadPoolExecutor(args.jobs) as threads:
        return dict(zip(places, threads.map(train, places), strict=True))


def folders(runs: Path, name: str) -> dict[str, str]:
    """Where a training run leaves its results."""
    return {"ckpt_dir": str(runs / name / "models"), "output_dir": str(runs / name / "log")}


def logged(command: Sequence[str], log: Path) -> int:
    """Run a command with the bundle on Python's path and its output in a file; returns the exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w", encoding="utf-8") as stream:
        return subprocess.run(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode


def train_federated(args: argparse.Namespace, initial: Path, **overrides: Any) -> Path:
    """Run the job in FLARE's simulator; returns the averaged weights."""
    runs = args.out.resolve() / "runs" / FEDERATED
    if not (runs / "model.pt").is_file():
        shutil.rmtree(runs, ignore_errors=True)
        write_json(runs / "job.json", job_settings(args, initial, **overrides))
        average = simulate(args.flare, runs, args.rounds)
        averaged = network(**overrides)
        averaged.load_state_dict(torch.load(average, weights_only=True)["model"])  # counts of batches come as floats
        save(runs / "model.pt", averaged.state_dict())
    return runs / "model.pt"


def job_settings(args: argparse.Namespace, initial: Path, **overrides: Any) -> dict[str, Any]:
    """The arguments of :func:`bundle.federated.flare_job.make_job`."""
    out = args.out.resolve()
    component = _config(**overrides).get_parsed_content("network_def", instantiate=False)
    own = {name: {"dataset_dir": str(out / "data" / name), **folders(out / "runs" / FEDERATED, name)} for name in NAMES}
    return {
        "sites": {name: {**overrides, **keys} for name, keys in own.items()},
        "network": {"path": component.resolve_module_name(), "args": component.resolve_args()},
        "initial": str(initial.resolve()),
        "rounds": args.rounds,
        "local_epochs": args.local_epochs,
        "metric": METRIC,
        "algorithm": {
            "bundle_root": str(ROOT),
            "config_train_filename": CONFIG,
            "config_evaluate_filename": CONFIG,
        },
    }


def simulate(flare: Path, folder: Path, rounds: int) -> Path:
    """Run the job of a folder in FLARE's simulator; returns the averaged weights of the last round.

    Raises:
        FileNotFoundError: there is no interpreter of FLARE's environment.
        OSError: the simulator did not finish.
    """
    if not flare.is_file():
        raise FileNotFoundError(f"flare '{flare}': expected a Python with FLARE (make env-flare), got nothing there")
    log = folder / "simulator.log"
    logged([str(flare), str(Path(__file__).with_name("flare_job.py")), str(folder)], log)
    average = folder / "workspace" / "server" / "simulate_job" / "app_server" / "FL_global_model.pt"
    # The exit status is 0 also where the rounds were aborted.
    if (
        f"Round {rounds - 1} finished." not in log.read_text(encoding="utf-8", errors="replace")
        or not average.is_file()
    ):
        raise OSError(f"FLARE's simulator did not finish its {rounds} rounds: see {log}")
    return average


def dice_of(rows: Rows, model: str, *sites: str) -> np.ndarray:
    """Dice of the test cases with a lesion at these sites."""
    return np.array([row["dice"] for site in sites for row in by_stratum(rows[model, site])[ANY_LESION]])


def federated_page(rows: Rows, settings: Mapping[str, Any], made_by: str) -> str:
    """The page in Markdown."""
    train, val, test = settings["cases"]
    groups = [*([name] for name in NAMES), NAMES]
    body = [
        [f"at {model} alone" if model in NAMES else model]
        + [f"{dice.mean():.3f} ± {dice.std():.3f}" for dice in (dice_of(rows, model, *group) for group in groups)]
        for model in (*NAMES, FEDERATED, POOLED)
    ]
    own = np.mean([dice_of(rows, name, name).mean() for name in NAMES])
    others = np.mean([dice_of(rows, model, name).mean() for model in NAMES for name in NAMES if model != name])
    return page(
        "Several hospitals: federated training",
        f"Made by `python -m bundle federated` ({made_by}), with NVIDIA FLARE's simulator and MONAI's `MonaiAlgo`. How "
        "it works, and how to run it at hospitals: [`../how-to/federated.md`](../how-to/federated.md).",
        "**Synthetic data and small networks: the numbers compare ways to train, and say nothing about patients.**",
        f"Each site has {train} training, {val} validation and {test} test cases of its own patients, and a scanner:",
        bullets(f"`{site.name}`: {site.scanner}" for site in SITES),
        f"Slices of {settings['matrix']} x {settings['matrix']} pixels, widths "
        f"{', '.join(map(str, settings['features']))}. All models begin with the same weights and see each of their "
        f"cases {settings['epochs']} times; the federated one is averaged {settings['rounds']} times, every "
        f"{settings['local_epochs']} epochs. The weights of the last epoch are tested, none is chosen. `pooled` is "
        "what hospitals could have if their data were in one place.",
        "Mean Dice ± standard deviation over the test cases with a lesion:",
        table(["trained", *(f"tested at {name}" for name in NAMES), "all"], body),
        f"A site's own model has {own:.3f} on its own patients, in the mean over the sites, and {others:.3f} on those "
        "of the others. With so few cases differences of a few hundredths are within chance.",
    )
