"""What the Snakefile runs: the steps of every row, with the digests of what decides their results."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from scripts.io import SECTIONS, load_datalist
from scripts.io.case import FILE_KEYS
from scripts.io.frame_times import TIMES_KEY, sidecar_path
from scripts.io.origin import sha256
from scripts.io.paths import is_file

from ..data import DATALIST, PHANTOM
from ..provenance import ROOT, code_digest, digest_of
from ..run import config_files
from .ensemble import ensemble_overlay
from .folds import fold_datalists
from .rows import Row

TRAIN, TESTING, VALIDATION = "train", SECTIONS[2], SECTIONS[1]
"""The steps of a run: the training, and the evaluations of sections of the datalist."""
DONE, MODEL, METRICS, CHECKPOINTS = "done.json", f"{TRAIN}/model.pt", "metrics.csv", "checkpoints"

Step = dict[str, Any]
Content = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all rows have in common.

    Attributes:
        dataset_dir: folder of the cases.
        folder: for the runs, where Snakemake works.
        overlays: under those of the rows.
        epochs: of every training, or of each of its stages; None leaves them to the configs.
        folds: of the cross-validation; 0 without one.
    """

    dataset_dir: Path
    folder: Path
    overlays: tuple[Path, ...] = ()
    epochs: int | None = None
    folds: int = 0

    @property
    def datalist(self) -> Path:
        """The sections of the data set."""
        return self.dataset_dir.absolute() / DATALIST


class Plan:
    """The steps of some rows; rows that differ in their description alone share one run.

    Args:
        rows: all that there are, so that those shared do not depend on which are wanted.
        setting: what they have in common.

    Attributes:
        steps: by `<run>/<step>`, what `run_step` needs: configs, overrides, inputs and digests.
        runs: by the row's key, the names of its runs: one, or that of each fold.
        ensembles: by the row's key, the name of the run of all folds together.
        contents: by the row's key, the merged configs of its training and of its evaluation.

    Raises:
        ValueError: an overlay cannot be merged into the configs.
    """

    def __init__(self, rows: Iterable[Row], setting: Setting) -> None:
        self.setting = setting
        self.origin = {"code": code_digest(), "data": data_digest(setting.datalist)}
        self.epochs = {} if setting.epochs is None else {"epochs": setting.epochs}
        self.steps: dict[str, Step] = {}
        self.runs: dict[str, list[str]] = {}
        self.ensembles: dict[str, str] = {}
        self.contents: dict[str, tuple[Content, Content]] = {}
        lists = {"": setting.datalist}
        if setting.folds:
            paths = fold_datalists(setting.datalist, setting.folds, setting.folder)
            lists = {f"_fold_{index}": path for index, path in enumerate(paths, start=1)}
        shared: dict[str, Row] = {}
        for row in rows:
            self.contents[row.key] = contents = self._content(TRAIN, row), self._content("evaluate", row)
            first = shared.setdefault(digest_of(contents), row)
            self.runs[row.key] = [first.key + suffix for suffix in lists]
            self.ensembles |= {row.key: f"{first.key}_ensemble"} if setting.folds else {}
            if first is row:
                self._add_row(row, list(lists.values()))

    def steps_of(self, row: Row) -> list[str]:
        """The names of the steps that a row consists of."""
        runs = {*self.runs[row.key], self.ensembles.get(row.key)}
        return [name for name in self.steps if name.split("/")[0] in runs]

    def as_config(self, wanted: Sequence[Row], **others: Any) -> dict[str, Any]:
        """The config of the Snakefile, which runs the rows that are wanted."""
        steps = dict.fromkeys(name for row in wanted for name in self.steps_of(row))
        common = {"root": str(ROOT), "python": sys.executable, "folder": str(self.setting.folder)}
        return {**common, "wanted": [f"{name}/{DONE}" for name in steps], "steps": self.steps, **others}

    def _add_row(self, row: Row, datalists: Sequence[Path]) -> None:
        """Add the training and the evaluations of each fold, and the evaluation of all of them together."""
        folder, runs, contents = self.setting.folder, self.runs[row.key], self.contents[row.key]
        given = {"dataset_dir": str(self.setting.dataset_dir.absolute()), "use_given_maps": True}
        for run, datalist in zip(runs, datalists, strict=True):
            places = {"dataset_dir": given["dataset_dir"], "datalist": str(datalist)}
            train = {**self.epochs, **places, "resume": True, "ckpt_dir": str(folder / run / TRAIN / CHECKPOINTS)}
            self._add_step(row, f"{run}/{TRAIN}", contents[0], train, [str(datalist)] * datalist.is_file())
            for section in (TESTING, VALIDATION) if self.setting.folds else (TESTING,):
                evaluate = given | places | {"section": section, "ckpt_path": str(folder / run / MODEL)}
                self._add_step(row, f"{run}/{section}", contents, evaluate, [f"{run}/{MODEL}"])
        if self.setting.folds:
            overlay = ensemble_overlay(contents[1], [folder / run / MODEL for run in runs])
            overlay |= given | {"datalist": str(datalists[0]), "section": TESTING}
            inputs = [f"{run}/{MODEL}" for run in runs]
            self._add_step(row, f"{self.ensembles[row.key]}/{TESTING}", [*contents, len(runs)], overlay, inputs)

    def _add_step(self, row: Row, name: str, content: Any, overrides: Mapping[str, Any], inputs: Sequence[str]) -> None:
        self.steps[name] = {
            "table": row.table,
            "config": TRAIN if name.endswith(f"/{TRAIN}") else "evaluate",
            "overlays": [str(path) for path in self._overlays(row)],
            "overrides": {**overrides, "output_dir": str(self.setting.folder / name)},
            "inputs": list(inputs),
            "digests": {**self.origin, "config": digest_of(content)},
        }

    def _overlays(self, row: Row) -> list[Path]:
        return [*(path.absolute() for path in self.setting.overlays), *row.overlays]

    def _content(self, config: str, row: Row) -> Content:
        """The configs as MONAI merges them, without the description, which changes no result."""
        try:
            content = ConfigParser.load_config_files([*map(str, config_files(config)), *self._overlays(row)])
        except ValueError as error:
            raise ValueError(
                f"experiment '{row.overlays[-1]}': expected an overlay of the configs, got {error}"
            ) from error
        content |= self.epochs if config == TRAIN else {}
        return {key: value for key, value in content.items() if key != "description"}


def data_digest(datalist: Path) -> str:
    """What tells one data set from another: its datalist, how a phantom was made, sizes of files, and frame times."""
    if not datalist.is_file():
        return "not made yet"
    marker = datalist.with_name(PHANTOM)
    made = marker.read_text(encoding="utf-8") if marker.is_file() else ""
    sections = json.loads(datalist.read_text(encoding="utf-8"))
    cases = [
        case
        for section in SECTIONS
        if section in sections
        for case in load_datalist(datalist, section, datalist.parent, check=False)
    ]
    files = [Path(case[key]) for case in cases for key in sorted(FILE_KEYS) if key in case]
    sizes = {os.path.relpath(file, datalist.parent): file.stat().st_size for file in files if file.is_file()}
    return digest_of([sections, made, sizes | _files_of_times(cases, datalist.parent)])


def _files_of_times(cases: Iterable[Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """The SHA-256 of the sidecars and other files that state when the frames of cases were taken."""
    named = (file for case in cases for file in (sidecar_path(case["image"]), case.get(TIMES_KEY)))
    files = [Path(file) for file in named if isinstance(file, (str, Path)) and is_file(file)]
    return {os.path.relpath(file, folder): sha256(file) for file in files}
