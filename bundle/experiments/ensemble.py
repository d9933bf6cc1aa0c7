"""The evaluation of the networks of all folds together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def ensemble_overlay(content: Mapping[str, Any], models: Sequence[Path]) -> dict[str, Any]:
    """What turns the evaluation of one network into that of several, whose probabilities are averaged.

    MONAI's `EnsembleEvaluator` runs the networks and its `MeanEnsembled` averages their lesion probabilities and, where
    they have one, their pseudo-DWI.

    Args:
        content: the merged config of the evaluation.
        models: the weights of each network.
    """
    evaluation = content["validate"]
    split, *others = evaluation["postprocessing"]["transforms"]
    networks = [f"@network_{index}" for index in range(len(models))]
    keys, images = ([f"{key}_{index}" for index in range(len(models))] for key in ("pred", "pseudo_dwi"))
    overlay: dict[str, Any] = {}
    for index in range(len(models)):
        overlay |= {f"network_def_{index}": "%network_def", f"network_{index}": f"$@network_def_{index}.to(@device)"}
    overlay["validate#evaluator"] = {
        key: value for key, value in evaluation["evaluator"].items() if key != "network"
    } | {
        "_target_": "EnsembleEvaluator",
        "networks": networks,
        "pred_keys": keys,
    }
    overlay["validate#postprocessing"] = evaluation["postprocessing"] | {
        "transforms": [
            *({**split, "keys": key, "pseudo_dwi_key": image} for key, image in zip(keys, images, strict=True)),
            {"_target_": "MeanEnsembled", "keys": keys, "output_key": "pred"},
            {
                "_target_": "Ensembled",  # MeanEnsembled does not let keys be missing
                "keys": images,
                "ensemble": {"_target_": "MeanEnsemble"},
                "output_key": "pseudo_dwi",
                "allow_missing_keys": True,
            },
            *others,
        ]
    }
    loaders = [
        {**content["checkpoint_loader"], "load_path": str(model), "load_dict": {"model": network}}
        for model, network in zip(models, networks, strict=True)
    ]
    others = [handler for handler in evaluation["handlers"] if handler != "%checkpoint_loader"]
    return overlay | {"validate#handlers": [*loaders, *others]}
