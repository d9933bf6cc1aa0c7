"""Train at three simulated hospitals with NVIDIA FLARE, next to each hospital alone and the pooled data."""

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from scripts.io import SECTIONS, atomic_path, load_datalist, write_datalist, write_json
from scripts.metrics import by_stratum
from scripts.metrics.strata import ANY_LESION
from scripts.phantom import ensure_cohort

from ..case_rows import read_rows
from ..data import DATALIST
from ..markdown import bullets, page, table, write_text
from ..provenance import ROOT, check_clean, commit, machine
from ..run import run_workflow
from .sites import SITES

HELP = "train at three simulated hospitals with NVIDIA FLARE and compare; write docs/results/federated.md"

CONFIG, METRIC = "configs/train.json", "val_mean_dice"
POOLED, FEDERATED = "pooled", "federated"
SETTINGS = "settings.json"
NAMES = [site.name for site in SITES]
Rows = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""The rows of the test cases by model and by site."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--out", type=Path, default=ROOT / "runs" / "federated", help="folder of data and runs")
    add("--page", type=Path, default=ROOT / "docs" / "results" / "federated.md", help="page to write")
    flare = "Python of an environment with NVIDIA FLARE; default: that of make env-flare"
    add("--flare", type=Path, default=ROOT / ".venv-flare" / "bin" / "python", help=flare)
    add("--cases", type=int, nargs=3, default=(24, 2, 12), metavar=("TRAIN", "VAL", "TEST"))
    add("--seed", type=int, default=2018, help="of the first site; the next ones count on")
    add("--rounds", type=int, default=15, help="how often the weights are averaged (default 15)")
    add("--local-epochs", type=int, default=2, help="epochs of a site between two (default 2)")
    add("--matrix", type=int, default=96, help="pixels of a side of the slices (default 96)")
    add("--features", type=int, nargs=5, default=(8, 16, 32, 64, 64), help="widths of the networks")


def run(args: argparse.Namespace) -> None:
    """Make the sites, train in three ways, evaluate every model at every site, and write the page.

    What an interrupted run with the same settings has done is resumed.
    """
    if min(args.rounds, args.local_epochs) < 1:
        raise ValueError(f"rounds and local-epochs: expected at least 1, got {args.rounds} and {args.local_epochs}")
    check_clean(args.page, commit())
    data, runs = args.out.resolve() / "data", args.out.resolve() / "runs"
    settings = {key: getattr(args, key) for key in ("rounds", "local_epochs", "matrix", "seed")}
    settings |= {key: list(getattr(args, key)) for key in ("cases", "features")}
    if not (runs / SETTINGS).is_file() or json.loads((runs / SETTINGS).read_text(encoding="utf-8")) != settings:
        for folder in (data, runs):
            shutil.rmtree(folder, ignore_errors=True)
        write_json(runs / SETTINGS, settings)
    for index, site in enumerate(SITES):
        # No two sites share a seed, nor so their patients.
        ensure_cohort(data / site.name, args.cases, args.seed + index, matrix=args.matrix, scanner=site.scan)
    pool(data)
    epochs = args.rounds * args.local_epochs
    shared: dict[str, Any] = {"features": list(args.features), "image_size": args.matrix, "num_workers": 0}
    # The weights of the last epoch are what is compared: validation after each would choose nothing.
    training = shared | {"epochs": epochs, "val_interval": epochs, "elastic_probability": 0.0, "seed": 0}
    set_determinism(0)
    initial = save(network(shared).instantiate(), runs / "initial.pt")
    models = {FEDERATED: train_federated(args, initial, training)}
    for name, folder in {**{name: data / name for name in NAMES}, POOLED: data}.items():
        own = training | folders(runs, name) | {"dataset_dir": str(folder), "pretrained": str(initial), "resume": True}
        run_workflow("train", **own)
        models[name] = runs / name / "models" / "checkpoint_last.pt"
    rows = {
        (name, site): evaluate(weights, data / site, runs / name / site, shared)
        for name, weights in models.items()
        for site in NAMES
    }
    write_text(args.page, federated_page(rows, {**settings, "epochs": epochs}, f"commit {commit()}, {machine()}"))
    print(f"{len(rows)} evaluations -> {args.page}")


def evaluate(weights: Path, dataset_dir: Path, out: Path, shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the test cases of a data set."""
    places = {"dataset_dir": str(dataset_dir), "ckpt_path": str(weights), "output_dir": str(out)}
    run_workflow("evaluate", **{**shared, **places, "use_given_maps": True})
    return read_rows(out / "metrics.csv")


def pool(data: Path) -> None:
    """Write a datalist of all sites' cases, which no hospital could have."""
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for site in NAMES:
        for name, cases in sections.items():
            for case in json.loads((data / site / DATALIST).read_text(encoding="utf-8"))[name]:
                paths = {key: f"{site}/{value}" for key, value in case.items() if key not in ("case", "subject")}
                cases.append({**paths, "case": f"{site}_{case['case']}"})
    write_datalist(data / DATALIST, sections)
    load_datalist(data / DATALIST, SECTIONS[0], data)  # raises where a file is not where the list has it


def network(overrides: Mapping[str, Any]) -> Any:
    """MONAI's config component of the network that is trained."""
    parser = ConfigParser(ConfigParser.load_config_file(ROOT / CONFIG))
    parser.update(dict(overrides))
    return parser.get_parsed_content("network_def", instantiate=False)


def save(model: torch.nn.Module, path: Path) -> Path:
    """Write the weights of a network as the bundle's checkpoints are."""
    with atomic_path(path) as temporary:
        torch.save(model.state_dict(), temporary)
    return path


def folders(runs: Path, name: str) -> dict[str, str]:
    """Where a training run leaves its results."""
    return {"ckpt_dir": str(runs / name / "models"), "output_dir": str(runs / name / "log")}


def train_federated(args: argparse.Namespace, initial: Path, training: Mapping[str, Any]) -> Path:
    """Run the job in FLARE's simulator; returns the averaged weights."""
    runs = args.out.resolve() / "runs" / FEDERATED
    if not (runs / "model.pt").is_file():
        shutil.rmtree(runs, ignore_errors=True)
        write_json(runs / "job.json", job_settings(args, initial, training))
        average = simulate(args.flare, runs, args.rounds)
        averaged = network(training).instantiate()
        averaged.load_state_dict(torch.load(average, weights_only=True)["model"])  # counts of batches come as floats
        save(averaged, runs / "model.pt")
    return runs / "model.pt"


def job_settings(args: argparse.Namespace, initial: Path, training: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`bundle.federated.flare_job.make_job`."""
    out, component = args.out.resolve(), network(training)
    own = {name: {"dataset_dir": str(out / "data" / name), **folders(out / "runs" / FEDERATED, name)} for name in NAMES}
    return {
        "sites": {name: {**training, **keys} for name, keys in own.items()},
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
    """Run the job of a folder in FLARE's simulator, with the bundle on Python's path; returns the last average.

    Raises:
        FileNotFoundError: there is no interpreter of FLARE's environment.
        OSError: the simulator did not finish.
    """
    if not flare.is_file():
        raise FileNotFoundError(f"flare '{flare}': expected a Python with FLARE (make env-flare), got nothing there")
    log, command = folder / "simulator.log", [str(flare), str(Path(__file__).with_name("flare_job.py")), str(folder)]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w", encoding="utf-8") as stream:
        subprocess.run(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False)
    average = folder / "workspace" / "server" / "simulate_job" / "app_server" / "FL_global_model.pt"
    # The exit status is 0 also where the rounds were aborted.
    finished = f"Round {rounds - 1} finished." in log.read_text(encoding="utf-8", errors="replace")
    if not finished or not average.is_file():
        raise OSError(f"FLARE's simulator did not finish its {rounds} rounds: see {log}")
    return average


def federated_page(rows: Rows, settings: Mapping[str, Any], made_by: str) -> str:
    """The page in Markdown."""
    train, val, test = settings["cases"]

    def dice(model: str, *sites: str) -> np.ndarray:
        return np.array([row["dice"] for site in sites for row in by_stratum(rows[model, site])[ANY_LESION]])

    def cells(model: str) -> list[str]:
        values = [*(dice(model, name) for name in NAMES), dice(model, *NAMES)]
        title = f"at {model} alone" if model in NAMES else model
        return [title, *(f"{value.mean():.3f} ± {value.std():.3f}" for value in values)]

    own = np.mean([dice(name, name).mean() for name in NAMES])
    others = np.mean([dice(model, name).mean() for model in NAMES for name in NAMES if model != name])
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
        table(["trained", *(f"tested at {name}" for name in NAMES), "all"], map(cells, (*NAMES, FEDERATED, POOLED))),
        f"A site's own model has {own:.3f} on its own patients, in the mean over the sites, and {others:.3f} on those "
        "of the others. With so few cases differences of a few hundredths are within chance.",
    )
