"""The federated training run as a job of NVIDIA FLARE's job API: exported, and run in its simulator.

A script, which the Python of FLARE's environment runs with the bundle's folder on its path; it reads one JSON file.
FLARE's own recipe for FedAvg runs a training script at the sites. MONAI's executor for `MonaiAlgo` is no script and
answers in the form of FLARE's `ScatterAndGather`, so the job is put together of these parts.
"""

import json
import sys
from pathlib import Path
from typing import Any

from monai.fl.client import MonaiAlgo
from monai_nvflare.client_algo_executor import ClientAlgoExecutor
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.app_opt.pt.job_config.base_fed_job import BaseFedJob
from nvflare.app_opt.pt.job_config.model import PTModel


def make_job(
    sites: dict[str, dict[str, Any]],
    network: dict[str, Any],
    initial: str,
    rounds: int,
    local_epochs: int,
    metric: str,
    algorithm: dict[str, Any],
) -> BaseFedJob:
    """A job that averages what the sites learn (McMahan et al. 2017), weighted by their steps.

    Args:
        sites: for each site the keys of the config with its values.
        network: path and arguments of the network, as FLARE names a component.
        initial: file of the weights to begin with.
        rounds: how often the weights are averaged.
        local_epochs: epochs that a site trains between.
        metric: of the validation, by which the server keeps the best average.
        algorithm: other arguments of MONAI's ``MonaiAlgo``.
    """
    job = BaseFedJob(name="ctp_stroke_lesion", min_clients=len(sites), key_metric=metric)
    job.set_app_packages(["monai", "monai_nvflare"])  # installed everywhere: their files are not copied into the job
    persistor = job.to_server(PTModel(network, initial_ckpt=initial))["persistor_id"]
    average = job.to_server(InTimeAccumulateWeightedAggregator(expected_data_kind="WEIGHT_DIFF"), id="average")
    generator = job.to_server(FullModelShareableGenerator(), id="weights")
    parts = {"aggregator_id": average, "persistor_id": persistor, "shareable_generator_id": generator}
    job.to_server(ScatterAndGather(min_clients=len(sites), num_rounds=rounds, train_task_name="train", **parts))
    for name, keys in sites.items():
        trainer = MonaiAlgo(local_epochs=local_epochs, train_kwargs=keys, eval_kwargs=keys, **algorithm)
        job.to(ClientAlgoExecutor("algorithm", key_metric=metric), name, tasks=["train"])
        job.to(trainer, name, id="algorithm")
    return job


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    make_job(**settings).export_job(str(folder))
    make_job(**settings).simulator_run(str(folder / "workspace"))
