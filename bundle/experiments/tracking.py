"""One local MLflow store for all runs."""

import os
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS
from monai.utils import optional_import, path_to_sqlite_uri


def tracking_settings() -> dict[str, Any]:
    """MONAI's handlers for MLflow, which log the loss of every 20th step alone: each is a transaction on the disk."""
    settings: dict[str, Any] = deepcopy(DEFAULT_MLFLOW_SETTINGS)
    settings["configs"]["trainer"]["iteration_log"] = "$lambda engine, iteration: iteration % 20 == 1"
    return settings


def prepare_tracking(out: Path, experiments: Iterable[str]) -> dict[str, str]:
    """Make the experiments before several processes write to them, in `<out>/mlflow.db` or `MLFLOW_TRACKING_URI`.

    Args:
        out: folder of the store, and of what it keeps of the runs.
        experiments: one for each table.

    Returns:
        The config keys that say where the store is.

    Raises:
        ValueError: MLflow is not installed.
    """
    mlflow, installed = optional_import("mlflow")  # here, since importing it takes seconds
    if not installed:
        raise ValueError("experiments: expected MLflow to track the runs; `pip install mlflow` brings it")
    uri = os.environ.get("MLFLOW_TRACKING_URI") or path_to_sqlite_uri(str((out / "mlflow.db").absolute()))
    client = mlflow.MlflowClient(uri)
    for name in sorted(set(experiments)):
        if client.get_experiment_by_name(name) is None:
            client.create_experiment(name, artifact_location=(out / "mlflow_artifacts" / name).absolute().as_uri())
    return {"tracking_uri": uri}
