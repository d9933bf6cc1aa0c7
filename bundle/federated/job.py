"""The federated training as a job of NVIDIA FLARE: files alone, so that writing them needs no FLARE."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from scripts.io import write_json

from ..steps import ROOT

CONFIG = "configs/train.json"
METRIC = "val_mean_dice"
SERVER_APP, JOB_NAME = "app_server", "simulate_job"


def write_job(
    folder: Path,
    sites: Mapping[str, Mapping[str, Any]],
    initial: Path,
    rounds: int,
    local_epochs: int,
    **overrides: Any,
) -> None:
    """Write a job that averages what the sites learn (McMahan et al. 2017), weighted by their steps.

    Args:
        folder: of the job.
        sites: for each site the keys of the config that are its own: where its data lie and its results go.
        initial: weights to begin with.
        rounds: how often the weights are averaged.
        local_epochs: epochs that a site trains between.
        overrides: keys of the config that all sites and the server share, such as ``features``.
    """
    apps = {SERVER_APP: ["server"], **{f"app_{name}": [name] for name in sites}}
    write_json(folder / "meta.json", {"name": "ctp_stroke_lesion", "min_clients": len(sites), "deploy_map": apps})
    write_json(
        folder / SERVER_APP / "config" / "config_fed_server.json",
        server_config(initial, len(sites), rounds, **overrides),
    )
    for name, own in sites.items():
        config = client_config(local_epochs, {**overrides, **own})
        write_json(folder / f"app_{name}" / "config" / "config_fed_client.json", config)


def server_config(initial: Path, clients: int, rounds: int, **overrides: Any) -> dict[str, Any]:
    """What the server runs: it holds the network, averages, and keeps the last and the best average."""
    persistor = {"model": network_definition(**overrides), "source_ckpt_file_full_name": str(initial.resolve())}
    rounds_of = {
        "min_clients": clients,
        "num_rounds": rounds,
        "aggregator_id": "average",
        "persistor_id": "persistor",
        "shareable_generator_id": "weights",
        "train_task_name": "train",
    }
    components = {
        "persistor": ("nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor", persistor),
        "weights": (
            "nvflare.app_common.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator",
            {},
        ),
        "average": (
            "nvflare.app_common.aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator",
            {"expected_data_kind": "WEIGHT_DIFF"},
        ),
        "best_model": ("nvflare.app_common.widgets.intime_model_selector.IntimeModelSelector", {"key_metric": METRIC}),
    }
    gather = "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather"
    return {
        "format_version": 2,
        "workflows": [{"id": "rounds", "path": gather, "args": rounds_of}],
        "components": [{"id": id, "path": path, "args": args} for id, (path, args) in components.items()],
        "task_data_filters": [],
        "task_result_filters": [],
    }


def client_config(local_epochs: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What a site runs: MONAI's ``MonaiAlgo`` on this bundle, with its own data, in FLARE's executor for it."""
    algorithm = {
        "bundle_root": str(ROOT),
        "local_epochs": local_epochs,
        "config_train_filename": CONFIG,
        "train_kwargs": dict(overrides),
        "config_evaluate_filename": CONFIG,
        "eval_kwargs": dict(overrides),
    }
    executor = {"client_algo_id": "algorithm", "key_metric": METRIC}
    return {
        "format_version": 2,
        "executors": [
            {
                "tasks": ["train"],
                "executor": {"path": "monai_nvflare.client_algo_executor.ClientAlgoExecutor", "args": executor},
            }
        ],
        "components": [{"id": "algorithm", "path": "monai.fl.client.MonaiAlgo", "args": algorithm}],
        "task_data_filters": [],
        "task_result_filters": [],
    }


def network_definition(**overrides: Any) -> dict[str, Any]:
    """The config's ``network_def`` as FLARE names a component: its path and its arguments."""
    parser = ConfigParser(ConfigParser.load_config_files(str(ROOT / CONFIG)))
    parser.update(overrides)
    component = parser.get_parsed_content("network_def", instantiate=False)
    return {"path": component.resolve_module_name(), "args": component.resolve_args()}


def simulate(flare: Path, job: Path, workspace: Path, sites: Sequence[str], rounds: int) -> Path:
    """Run a job in FLARE's simulator, each site in a process of its own that stays.

    Args:
        flare: the interpreter of an environment with FLARE.
        job: folder of the job.
        workspace: what FLARE writes; its log is ``simulator.log`` beside it.
        sites: names of the sites.
        rounds: those of the job.

    Returns:
        The averaged weights of the last round.

    Raises:
        FileNotFoundError: there is no such interpreter.
        OSError: the simulator did not finish.
    """
    if not flare.is_file():
        raise FileNotFoundError(f"flare '{flare}': expected a Python with FLARE (make env-flare), got nothing there")
    command = [str(flare), "-m", "nvflare.private.fed.app.simulator.simulator", str(job.resolve())]
    command += ["-w", str(workspace.resolve()), "-c", ",".join(sites), "-t", str(len(sites))]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    log = workspace.with_name("simulator.log")
    with log.open("w", encoding="utf-8") as stream:
        subprocess.run(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False)
    # The exit status is 0 also where the rounds were aborted.
    if f"Round {rounds - 1} finished." not in log.read_text(encoding="utf-8", errors="replace"):
        raise OSError(f"FLARE's simulator did not finish its {rounds} rounds: see {log}")
    return workspace / "server" / JOB_NAME / SERVER_APP / "FL_global_model.pt"
