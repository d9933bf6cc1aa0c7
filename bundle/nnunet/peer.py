"""nnU-Net prepared, trained, run on the test cases and scored as ours, by its programs in an environment of its own."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import RemoveSmallObjects
from tqdm import tqdm

from scripts.io import read_nifti, write_json
from scripts.metrics.handler import row_of

from ..data import PHANTOM
from ..provenance import digest_of
from .convert import DATASET, DATASET_ID, ENDING, PREPROCESSED, RAW, RESULTS, write_dataset

TRAINER, TRAINERS = "SameSlicesTrainer", Path(__file__).with_name("trainers")
FINGERPRINT = Path(__file__).with_name("fingerprint.py")
PREPARED, RECORD = "prepared.json", "record.json"
Record = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """What nnU-Net gets.

    Attributes:
        datalist: the cases.
        dataset_dir: where they are.
        channels: keys of the config that become channels.
        epochs: over the training cases.
        seed: of the training run.
        min_lesion_ml: smaller components of the prediction are dropped.
        out: folder of all runs.
    """

    datalist: Path
    dataset_dir: Path
    channels: tuple[str, ...]
    epochs: int
    seed: int
    min_lesion_ml: float
    out: Path

    @property
    def folder(self) -> Path:
        """Where it is prepared and trained: another one where anything of it differs."""
        made = self.dataset_dir / PHANTOM
        # A phantom is what it was made as, wherever it lies: it need not be trained on again where it was copied to.
        place = made.read_text(encoding="utf-8") if made.is_file() else str(self.dataset_dir.resolve())
        digest = digest_of([place, self.datalist.read_text(encoding="utf-8"), self.channels, self.epochs, self.seed])
        return self.out.absolute() / f"{'_'.join(self.channels)}-{digest}"

    def measure(self, configuration: str, programs: Path, device: str, workers: int = 0) -> Record:
        """Train a configuration and score it on the test cases; what is done is not done again.

        Args:
            configuration: `2d` or `3d_fullres`.
            programs: folder of nnU-Net's programs.
            device: `cpu` or `cuda`.
            workers: processes that augment next to the training; with 0, and a seed, a run on a CPU can be repeated.

        Returns:
            `cases`, the rows of the metrics; `training`, what the trainer wrote; `seconds` of each program.

        Raises:
            FileNotFoundError: the programs are not there.
            ChildProcessError: one of them failed.
        """
        if not (programs / "nnUNetv2_train").is_file():
            raise FileNotFoundError(f"nnunet '{programs}': expected nnU-Net's programs (make env-nnunet), got none")
        raw, record = self.folder / RAW / DATASET, self.folder / configuration / RECORD
        masks = record.with_name("predictions")
        if not record.is_file():
            seconds = self._prepare(programs)
            shutil.rmtree(masks, ignore_errors=True)
            data, own = ("-d", DATASET_ID, "-c", configuration), ("-tr", TRAINER, "-device", device)
            seconds["preprocess"] = self._run(programs / "nnUNetv2_preprocess", *data, "-np", 1)
            train = programs / "nnUNetv2_train", DATASET_ID, configuration, 0
            seconds["train"] = self._run(*train, *own, workers=workers)
            places = ("-i", raw / "imagesTs", "-o", masks, "-npp", 1, "-nps", 1, "--disable_progress_bar")
            seconds["predict"] = self._run(programs / "nnUNetv2_predict", *data, "-f", 0, *own, *places)
            weights = self.folder / RESULTS / DATASET / f"{TRAINER}__nnUNetPlans__{configuration}" / "fold_0"
            training = json.loads((weights / "training.json").read_text(encoding="utf-8"))
            write_json(record, {"training": training, "seconds": seconds})
        cases = score(masks, raw / "labelsTs", self.min_lesion_ml)
        return {"cases": cases, **json.loads(record.read_text(encoding="utf-8"))}

    def _prepare(self, programs: Path) -> dict[str, float]:
        """Write the data set and let nnU-Net plan, once for all configurations."""
        marker = self.folder / PREPARED
        if not marker.is_file():
            shutil.rmtree(self.folder, ignore_errors=True)
            given = (self.folder, self.datalist, self.dataset_dir, self.channels)
            write_dataset(*given, epochs=self.epochs, seed=self.seed)
            seconds = {"fingerprint": self._run(programs / "python", FINGERPRINT, DATASET_ID)}
            seconds["plan"] = self._run(programs / "nnUNetv2_plan_experiment", "-d", DATASET_ID)
            write_json(marker, seconds)
        return json.loads(marker.read_text(encoding="utf-8"))

    def _run(self, program: Path, *arguments: Any, workers: int = 1) -> float:
        """Run a program, with its log in `<folder>/<program>.log`; returns its seconds."""
        log = self.folder / f"{program.name}.log"
        environment = {
            **os.environ,
            **{f"nnUNet_{name}": str(self.folder / name) for name in (RAW, PREPROCESSED, RESULTS)},
            "nnUNet_extTrainer": str(TRAINERS),
            "nnUNet_n_proc_DA": str(workers),  # the planning takes this for a number of threads, which 0 is not
            "nnUNet_def_n_proc": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        command, start_s = [str(program.absolute()), *map(str, arguments)], time.monotonic()
        with log.open("a", encoding="utf-8") as stream:
            status = subprocess.run(command, env=environment, stdout=stream, stderr=stream, check=False).returncode
        if status:
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            raise ChildProcessError("\n".join([f"{program.name}: exit status {status}; {log} ends with", *last]))
        return round(time.monotonic() - start_s, 1)


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
