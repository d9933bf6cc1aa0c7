"""nnU-Net on the cases and the inputs of a row: prepared, trained, run on the test cases and scored as the row is."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import RemoveSmallObjects
from tqdm import tqdm

from scripts.io import read_nifti, write_json
from scripts.metrics.handler import row_of, write_rows

from ..data import PHANTOM
from ..experiments.plan import Setting
from ..provenance import commit, digest_of, machine
from .convert import DATASET, DATASET_ID, ENDING, RAW, RESULTS, write_dataset
from .programs import FINGERPRINT, TRAINER, TRAINING, Cost, Programs

Contents = tuple[Mapping[str, Any], Mapping[str, Any]]
PREPARE = "prepare"
PREPARED, RECORD, METRICS_FILE = "prepared.json", "record.json", "metrics.csv"


@dataclass(frozen=True)
class Peer:
    """What nnU-Net gets, all of it from a row.

    Attributes:
        setting: the data.
        channels: keys of the config that become channels.
        epochs: over the training cases.
        seed: of the training.
        min_lesion_ml: smaller components of the prediction are dropped.
        out: folder of all runs.
    """

    setting: Setting
    channels: tuple[str, ...]
    epochs: int
    seed: int
    min_lesion_ml: float
    out: Path

    @classmethod
    def of(cls, contents: Contents, setting: Setting, out: Path, epochs: int | None = None) -> "Peer":
        """The peer of a row by the configs of its training and evaluation, with its epochs or so many."""
        train, test = contents
        own = train["epochs"] * max(1, len(train["stages"]))
        return cls(setting, tuple(train["channels"]), epochs or own, train["seed"], test["min_lesion_ml"], out)

    @property
    def folder(self) -> Path:
        """Where it is prepared and trained: another one where anything of it differs."""
        data = self.setting.dataset_dir
        # A phantom is what it was made as, wherever it lies: it need not be trained on again where it was copied to.
        place = (data / PHANTOM).read_text(encoding="utf-8") if (data / PHANTOM).is_file() else str(data.resolve())
        datalist = self.setting.datalist.read_text(encoding="utf-8")
        digest = digest_of([place, datalist, self.channels, self.epochs, self.seed])
        return self.out / f"{'_'.join(self.channels)}-{digest}"

    def measure(self, configuration: str, programs: Path, device: str, workers: int = 0) -> Mapping[str, Any]:
        """Train a configuration and score it on the test cases; what is done is not done again.

        Args:
            configuration: `2d` or `3d_fullres`.
            programs: folder of nnU-Net's programs.
            device: `cpu` or `cuda`.
            workers: see :class:`Programs`.

        Returns:
            `cases`, the rows of the metrics; `training`, what the trainer wrote; `costs` of each step; `commit` and
            `machine`.
        """
        folder = self.folder / configuration
        if not (folder / RECORD).is_file():
            nnunet = Programs(programs, self.folder, workers)
            costs = {PREPARE: self._prepare(nnunet), **self._train(nnunet, configuration, device)}
            weights = self.folder / RESULTS / DATASET / f"{TRAINER}__nnUNetPlans__{configuration}" / "fold_0"
            training = json.loads((weights / "training.json").read_text(encoding="utf-8"))
            write_json(
                folder / RECORD, {"training": training, "costs": costs, "commit": commit(), "machine": machine()}
            )
        rows = score(folder / "predictions", self.folder / RAW / DATASET / "labelsTs", self.min_lesion_ml)
        write_rows(folder / METRICS_FILE, rows)
        return {"cases": rows, **json.loads((folder / RECORD).read_text(encoding="utf-8"))}

    def _prepare(self, nnunet: Programs) -> Cost:
        """Write the data set and let nnU-Net plan, once for all configurations."""
        marker = self.folder / PREPARED
        if marker.is_file():
            return Cost(*json.loads(marker.read_text(encoding="utf-8")))
        shutil.rmtree(self.folder, ignore_errors=True)
        start, cpu_start = time.monotonic(), time.process_time()
        write_dataset(
            self.folder,
            self.setting.datalist,
            self.setting.dataset_dir,
            self.channels,
            epochs=self.epochs,
            seed=self.seed,
        )
        cpu_seconds = time.process_time() - cpu_start
        cpu_seconds += nnunet.run("fingerprint", "python", FINGERPRINT, DATASET_ID).cpu_seconds
        cpu_seconds += nnunet.run("plan", "nnUNetv2_plan_experiment", "-d", DATASET_ID).cpu_seconds
        cost = Cost(round(time.monotonic() - start, 1), round(cpu_seconds, 1))
        write_json(marker, list(cost))
        return cost

    def _train(self, nnunet: Programs, configuration: str, device: str) -> dict[str, Cost]:
        """Preprocess, train and predict."""
        dataset, predictions = self.folder / RAW / DATASET, self.folder / configuration / "predictions"
        shutil.rmtree(predictions, ignore_errors=True)
        own = ("-tr", TRAINER, "-device", device)
        return {
            "preprocess": nnunet.run(
                "preprocess", "nnUNetv2_preprocess", "-d", DATASET_ID, "-c", configuration, "-np", 1
            ),
            TRAINING: nnunet.run(TRAINING, "nnUNetv2_train", DATASET_ID, configuration, 0, *own),
            "predict": nnunet.run(
                "predict", "nnUNetv2_predict", "-d", DATASET_ID, "-c", configuration, "-f", 0, *own,
                "-i", dataset / "imagesTs", "-o", predictions, "-npp", 1, "-nps", 1, "--disable_progress_bar",
            ),
        }  # fmt: skip


def score(predictions: Path, labels: Path, min_lesion_ml: float) -> list[dict[str, Any]]:
    """The metrics of each case, after the postprocessing of `configs/evaluate.json`: small components are dropped.

    Args:
        predictions: folder of nnU-Net's masks.
        labels: folder of the true ones, of the same names.
        min_lesion_ml: the smallest volume of a component that is kept.

    Raises:
        FileNotFoundError: a case has no prediction.
    """
    # The size is in mm³ here; MONAI types it as a number of voxels.
    remove = RemoveSmallObjects(min_size=round(1000 * min_lesion_ml), connectivity=3, by_measure=True)
    rows = []
    for path in tqdm(sorted(labels.glob(f"*{ENDING}")), desc="scoring", unit="case"):
        name = path.name.removesuffix(ENDING)
        guess, truth = (read_nifti(folder / path.name, case=name, key="label") for folder in (predictions, labels))
        mask = MetaTensor(torch.from_numpy(guess.array)[None], affine=torch.from_numpy(truth.affine))
        rows.append(row_of({"case": name, "pred": remove(mask), "label": torch.from_numpy(truth.array)[None]}))
    return rows
