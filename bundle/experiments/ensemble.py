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
    evaluation, count = content["validate"], range(len(models))
    networks, keys, images = ([f"{name}_{i}" for i in count] for name in ("@network", "pred", "pseudo_dwi"))
    overlay: dict[str, Any] = {f"network_def_{i}": "%network_def" for i in count}
    overlay |= {f"network_{i}": f"$@network_def_{i}.to(@device)" for i in count}
    single = {key: value for key, value in evaluation["evaluator"].items() if key != "network"}
    several = {"_target_": "EnsembleEvaluator", "networks": networks, "pred_keys": keys}
    overlay["validate#evaluator"] = single | several
    split, *others = evaluation["postprocessing"]["transforms"]
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
    handlers = [handler for handler in evaluation["handlers"] if handler != "%checkpoint_loader"]
    return overlay | {"validate#handlers": [*loaders, *handlers]}
