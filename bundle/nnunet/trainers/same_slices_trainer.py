"""nnU-Net's trainer with a training of a given length.

nnU-Net imports this file itself, in its own environment: `nnUNet_extTrainer` names the folder, and the class is found
by its name. Nothing of the bundle is there.
"""

import json
import math
import random
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class SameSlicesTrainer(nnUNetTrainer):
    """Draws about as many slices as `schedule` of `dataset.json` says, in as many epochs; all else is nnU-Net's own.

    nnU-Net trains for 1000 epochs of 250 batches, whatever the data. `schedule` has `epochs`, `training_slices` and
    `validation_slices` of an epoch, and `seed`. At the end `training.json` in the folder of the weights tells what
    the training was. The arguments have nnU-Net's names, by which its own class looks them up.
    """

    def __init__(
        self, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any], device: torch.device
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        schedule = dataset_json["schedule"]
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(schedule["seed"])
        depth = math.prod(self.configuration_manager.patch_size[:-2])  # of a patch in slices; 1 where it is one
        slices = self.configuration_manager.batch_size * depth
        self.num_epochs = schedule["epochs"]
        self.num_iterations_per_epoch = max(1, round(schedule["training_slices"] / slices))
        self.num_val_iterations_per_epoch = max(1, round(schedule["validation_slices"] / slices))

    def on_train_end(self) -> None:
        """Keep the weights, as nnU-Net does, and write `training.json`."""
        super().on_train_end()
        plan = self.configuration_manager
        record = {
            "nnunetv2": version("nnunetv2"),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "features": list(plan.network_arch_init_kwargs["features_per_stage"]),
            "patch_size": [int(size) for size in plan.patch_size],
            "batch_size": int(plan.batch_size),
            "learning_rate": self.initial_lr,
            "epochs": self.num_epochs,
            "iterations_per_epoch": self.num_iterations_per_epoch,
        }
        Path(self.output_folder, "training.json").write_text(json.dumps(record, indent=4) + "\n", encoding="utf-8")
