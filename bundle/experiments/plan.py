"""From rows to jobs: what is trained and evaluated, in which folder, and what tells whether it is done."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ConfigParser

from scripts.io import SECTIONS

from ..steps import PHANTOM, ROOT
from .rows import Row

TRAIN, TEST, HELD_OUT = "train", "test", "held_out"
"""The steps of a job: the training, and the evaluations of the sections testing and, for folds, validation."""
MODEL, LAST = "model.pt", "checkpoint_last.pt"
DESCRIPTION = "description"
"""The key of an overlay that changes nothing."""


class Step(NamedTuple):
    """One process of a job.

    Attributes:
        name: `TRAIN`, `TEST` or `HELD_OUT`; also of its folder within the job's.
        configs: the config files, each over those before it.
        settings: keys of the config that go over them, such as where things lie.
        content: all that changes a result: the configs merged, without where things lie.
        digest: of the content, the data and the steps before.
    """

    name: str
    configs: tuple[Path, ...]
    settings: Mapping[str, Any]
    content: Mapping[str, Any]
    digest: str


@dataclass(frozen=True)
class Job:
    """The steps of a row, or of all rows with the same settings, in their order.

    Attributes:
        name: of the first such row.
        table: of that row.
        folder: for everything that it writes.
        steps: the training, where there is one, and the evaluations.
    """

    name: str
    table: str
    folder: Path
    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        """The step of a name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def model(self) -> Path:
        """The weights with the best validation."""
        return self.folder / TRAIN / MODEL


@dataclass(frozen=True)
class Setting:
    """What all rows have in common.

    Attributes:
        dataset_dir: folder of the cases.
        datalist: their sections.
        out: folder for the runs.
        base: overlays under those of the rows.
        epochs: of every training, or of each of its stages; None leaves them to the configs.
        held_out: whether the validation cases are scored too, as cross-validation does.
        suffix: of the folders' names, such as that of a fold.
    """

    dataset_dir: Path
    datalist: Path
    out: Path
    base: tuple[Path, ...] = ()
    epochs: int | None = None
    held_out: bool = False
    suffix: str = ""


def plan_jobs(rows: Iterable[Row], setting: Setting) -> dict[str, Job]:
    """The job of each row, by the row's key; rows whose overlays differ in their description alone share one.

    Raises:
        ValueError: an overlay cannot be merged into the configs.
    """
    data = fingerprint(setting)
    jobs: dict[str, Job] = {}
    by_digest: dict[str, Job] = {}
    for row in rows:
        try:
            job = _job_of(row, setting, data)
        except ValueError as error:
            raise ValueError(f"experiment '{row.overlay}': expected an overlay of the configs, got {error}") from error
        jobs[row.key] = by_digest.setdefault(job.steps[-1].digest, job)
    return jobs


def fingerprint(setting: Setting) -> str:
    """What tells one data set from another: its place, its datalist and, of a phantom, how it was made."""
    marker = setting.dataset_dir / PHANTOM
    made = marker.read_text(encoding="utf-8") if marker.is_file() else ""
    return digest_of([str(setting.dataset_dir.resolve()), setting.datalist.read_text(encoding="utf-8"), made])


def digest_of(content: Any) -> str:
    """The first twelve digits of the SHA-256 of what JSON makes of the content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _job_of(row: Row, setting: Setting, data: str) -> Job:
    epochs = {} if setting.epochs is None else {"epochs": setting.epochs}
    places = {"dataset_dir": str(setting.dataset_dir.absolute()), "datalist": str(setting.datalist.absolute())}
    configs = _configs("train", row, setting)
    content = _merged(configs) | epochs
    digest = digest_of([data, content])
    name = row.key + setting.suffix
    folder = _folder(setting.out, name, digest)
    settings = {**epochs, **places, "resume": True}
    settings |= {key: str(folder / TRAIN) for key in ("ckpt_dir", "output_dir")}
    steps = [Step(TRAIN, configs, settings, content, digest)]
    configs = _configs("evaluate", row, setting)
    content = _merged(configs)
    for step, section in [(TEST, SECTIONS[2]), (HELD_OUT, SECTIONS[1])][: 1 + setting.held_out]:
        settings = {**places, "section": section, "use_given_maps": True, "ckpt_path": str(folder / TRAIN / MODEL)}
        settings["output_dir"] = str(folder / step)
        digest = digest_of([digest, content, section])
        steps.append(Step(step, configs, settings, content, digest))
    return Job(name, row.table, folder, tuple(steps))


def ensemble_job(row: Row, folds: Sequence[Job], setting: Setting) -> Job:
    """The evaluation of the networks of all folds together: their probabilities are averaged.

    MONAI's `EnsembleEvaluator` runs the networks and its `MeanEnsembled` averages their lesion probabilities and, where
    they have one, their pseudo-DWI; everything else is as in the evaluation of one network.
    """
    test = folds[0].step(TEST)
    content = test.content
    split, *others = content["postprocessing"]["transforms"]
    keys, images = ([f"{key}_{index}" for index in range(len(folds))] for key in ("pred", "pseudo_dwi"))
    overlay: dict[str, Any] = {}
    for index in range(len(folds)):
        overlay[f"network_def_{index}"] = "%network_def"
        overlay[f"network_{index}"] = f"$@network_def_{index}.to(@device)"
    networks = [f"@network_{index}" for index in range(len(folds))]
    overlay["evaluator"] = {key: value for key, value in content["evaluator"].items() if key != "network"} | {
        "_target_": "EnsembleEvaluator",
        "networks": networks,
        "pred_keys": keys,
    }
    overlay["postprocessing"] = content["postprocessing"] | {
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
    loader = next(handler for handler in content["handlers"] if handler["_target_"].endswith("CheckpointLoader"))
    overlay["handlers"] = [
        *(
            {**loader, "load_path": str(fold.model), "load_dict": {"model": network}}
            for fold, network in zip(folds, networks, strict=True)
        ),
        *(handler for handler in content["handlers"] if handler is not loader),
    ]
    digest = digest_of([[fold.steps[-1].digest for fold in folds], "mean of the probabilities"])
    folder = _folder(setting.out, f"{row.key}_ensemble", digest)
    overlay |= {key: test.settings[key] for key in ("dataset_dir", "datalist", "section", "use_given_maps")}
    overlay["output_dir"] = str(folder / TEST)
    return Job(f"{row.key}_ensemble", row.table, folder, (Step(TEST, test.configs, overlay, content, digest),))


def _configs(name: str, row: Row, setting: Setting) -> tuple[Path, ...]:
    return (ROOT / "configs" / f"{name}.json", *(path.absolute() for path in setting.base), row.overlay.absolute())


def _merged(configs: Sequence[Path]) -> dict[str, Any]:
    """The configs as MONAI merges them."""
    content = ConfigParser.load_config_files([str(path) for path in configs])
    return {key: value for key, value in content.items() if key != DESCRIPTION}


def _folder(out: Path, name: str, digest: str) -> Path:
    """The folder of what has this digest, whatever row made it first."""
    return next(iter(sorted((out / "runs").glob(f"*-{digest}"))), out / "runs" / f"{name}-{digest}")
