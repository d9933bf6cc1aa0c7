"""Segmenting cases through `configs/inference.json`: what `ctp-stroke segment` runs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.engines import IterationEvents
from tqdm import tqdm

from ..io.errors import DatasetError, root_error
from ..io.origin import sha256
from ..io.paths import bundle_root
from ..perfusion.command import MapsRequest, is_complete, write_maps
from ..report.lesion_panel import describe, draw_case
from ..workflow.case_evaluator import CaseEvaluator
from ..workflow.result_writer import ResultWriter

Case = Mapping[str, Any]
_NO_EFFECT = ("image", "section", "output_dir", "overwrite", "device", "num_workers", "ckpt_path")
_FILES = ("times",)


class Segmentation:
    """The cases of one call of the command, and what is said of each.

    Args:
        images: series, folders and datalists, see :func:`scripts.io.given_cases.given_cases`.
        out: folder of the results.
        options: other keys of `configs/inference.json`.
        overwrite: segment complete cases again, and replace results of other series.
        maps: also write perfusion maps and their reading.
    """

    def __init__(
        self,
        images: Sequence[Path],
        out: Path,
        options: Mapping[str, Any],
        *,
        overwrite: bool = False,
        maps: bool = False,
    ):
        self.out, self.overwrite, self.maps = out, overwrite, maps
        self.workflow = _workflow({"image": list(images), "output_dir": out, "overwrite": overwrite, **options})
        self.options = options
        self.cases: list[Case] = []
        self.complete: set[str] = set()

    def run(self) -> list[str]:
        """Segment the cases that are not complete.

        Returns:
            The names of the cases that failed; what went wrong has been said.

        Raises:
            DatasetError, OptionError, WeightsError, OSError: nothing can be segmented.
        """
        parser = self.workflow.parser
        with _clear_errors():
            parser.get_parsed_content("run#0")  # the check of the options
            dataset = parser.get_parsed_content("dataset")
            writer = _one(parser.get_parsed_content("handlers"), ResultWriter)
            writer.settings = self._settings(parser.get_parsed_content("ckpt_path"))
            self.cases = list(dataset.data)
            writer.check(self.cases)
            left = [case for case in self.cases if self.overwrite or not writer.is_done(case["case"])]
            for case in self.cases:
                if case not in left:
                    self._report(case, writer, complete=True)
            if not left:
                return []
            dataset.set_data(left)
            evaluator: CaseEvaluator = parser.get_parsed_content("evaluator")
            with tqdm(total=len(left), unit="case", leave=False, disable=None) as bar, _failures_shown():
                self._attach(evaluator, writer, left, bar)
                try:
                    self.workflow.run()
                except RuntimeError as error:
                    if not evaluator.failures or not isinstance(root_error(error), DatasetError):
                        raise
        return [case["case"] for case in left if case["case"] not in self.complete]

    def _attach(self, evaluator: CaseEvaluator, writer: ResultWriter, left: list[Case], bar: tqdm) -> None:
        by_name = {case["case"]: case for case in left}

        def started(engine: Engine) -> None:
            bar.set_description(left[engine.state.iteration % len(left)]["case"])

        def written(engine: Engine) -> None:
            state: Any = engine.state
            for item in state.batch:
                self._report(by_name[item["case"]], writer)

        evaluator.add_event_handler(Events.GET_BATCH_STARTED, started)
        evaluator.add_event_handler(IterationEvents.MODEL_COMPLETED, written)  # after the writer's
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda: bar.update())

    def _report(self, case: Case, writer: ResultWriter, complete: bool = False) -> None:
        """Say what was found in a case, after what is made of it besides its mask; a complete case may have that."""
        name, row = case["case"], writer.row(case["case"])
        folder = self.out / name
        lines = [f"{name}: warning: {row['warnings']}"] if row["warnings"] else []
        shown = dict(case)
        if self.maps:
            if not (complete and is_complete(folder)):
                lines += self._write_maps(case, folder)
            shown |= {key: folder / f"{name}_{key}.nii.gz" for key in ("cbf", "tmax")}
        picture = folder / f"{name}_panel.png"
        volumes = {"predicted lesion": row["lesion_volume_ml"]}
        if not (complete and picture.is_file()):
            volumes = draw_case(shown, self.out, picture)
        self.complete.add(name)
        tqdm.write(f"{name}: {'complete already: ' * complete}{describe(volumes)}; {folder}")
        for line in lines:
            tqdm.write(line)

    def _write_maps(self, case: Case, folder: Path) -> list[str]:
        given = {key: self.options[key] for key in ("dt_s", "times") if key in self.options}
        orientation = case.get("orientation")
        request = MapsRequest(
            Path(case["image"]), folder, case=case["case"], orientation=orientation, overwrite=self.overwrite, **given
        )
        return write_maps(request)

    def _settings(self, ckpt_path: Any) -> dict[str, Any]:
        """What the results depend on besides the series; `--device` is left out, which changes rounding alone."""
        metadata = json.loads(Path(bundle_root(), "configs", "metadata.json").read_text(encoding="utf-8"))
        values = {key: value for key, value in sorted(self.options.items()) if key not in _NO_EFFECT}
        for key in _FILES:
            if key in values:
                values[key] = sha256(values[key])
        return {"version": metadata["version"], "weights_sha256": sha256(ckpt_path), **values}


def _workflow(overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """`configs/inference.json` with overrides; paths stay `Path` objects, which MONAI never evaluates."""
    for name in ("monai.bundle.workflows", "monai.bundle.config_parser"):  # how MONAI works, at level WARNING
        logging.getLogger(name).setLevel(logging.ERROR)
    config_file = os.path.join(bundle_root(), "configs", "inference.json")
    workflow = ConfigWorkflow(config_file=config_file, workflow_type="infer", logging_file=False, **overrides)
    handlers = workflow.parser["handlers"]
    for handler in handlers:
        if handler["_target_"] == "ignite.handlers.ProgressBar":
            handler["_disabled_"] = True
    workflow.initialize()
    return workflow


def _one(handlers: Sequence[Any], kind: type[ResultWriter]) -> ResultWriter:
    return next(handler for handler in handlers if isinstance(handler, kind))


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Take MONAI's wrappers off an error."""
    try:
        yield
    except RuntimeError as error:
        cause = root_error(error)
        if cause is error:
            raise
        raise cause from error


@contextmanager
def _failures_shown() -> Iterator[None]:
    """Show each failed case at once, above the progress bar; ignite's report of the end is left out."""
    log, engine = logging.getLogger(CaseEvaluator.__module__), logging.getLogger("ignite")
    handler = _AboveTheBar()
    before = log.propagate, engine.level
    log.addHandler(handler)
    log.propagate = False
    engine.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before[0]
        engine.setLevel(before[1])


class _AboveTheBar(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            tqdm.write(f"error: {record.getMessage()}", file=sys.stderr)
