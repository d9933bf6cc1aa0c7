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

from ..datasets.submission import isles2018_files
from ..dicom.detect import require_pydicom
from ..dicom.written import has_dicom_results, remove_dicom_results
from ..io.case import MAP_KEYS
from ..io.covering import refuse_covering
from ..io.errors import DatasetError, root_error
from ..io.frame_times import INTERVAL_KEY, TIMES_KEY, sidecar_path
from ..io.nifti import read_nifti, write_nifti
from ..io.origin import sha256
from ..io.paths import bundle_root
from ..report.case_results import CaseResults
from ..report.lesion_panel import describe, draw_case
from ..workflow.case_dataset import FAILURE, failure_line
from ..workflow.case_evaluator import CaseEvaluator
from ..workflow.inference_cases import STUDY_KEY
from ..workflow.result_writer import ResultWriter
from .perfusion_maps import MapsRequest, is_complete, write_maps

Case = Mapping[str, Any]
_OPTIONS = ("amp", "mirror", "min_lesion_ml", "dt_s", "times", "use_given_maps")
"""Options that change the results, besides the weights and what a case has itself."""


class Segmentation:
    """The cases of one call of the command, and what is said of each.

    Args:
        images: series, folders and datalists, see :func:`scripts.io.given_cases.given_cases`.
        out: folder of the results.
        options: other keys of `configs/inference.json`.
        overwrite: segment complete cases again, and replace results of other series.
        maps: also write perfusion maps and their reading.
        report: also write the report, and so the maps.
        dicom: also write the results as DICOM objects of the study that each case comes from, and so the maps.
        submission: also write the masks under the names that a challenge asks for, into `out`/submission.
    """

    def __init__(
        self,
        images: Sequence[Path],
        out: Path,
        options: Mapping[str, Any],
        *,
        overwrite: bool = False,
        maps: bool = False,
        report: bool = False,
        dicom: bool = False,
        submission: str | None = None,
    ):
        self.out, self.overwrite, self.maps = out, overwrite, maps or report or dicom
        self.report, self.dicom, self.submission = report, dicom, submission
        self.submitted: dict[str, Path] = {}
        if dicom:
            require_pydicom()
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
            self.cases = list(dataset.data)
            self._check_studies()
            if self.submission:
                listed = [case for case in self.cases if FAILURE not in case]
                self.submitted = isles2018_files(listed, self.out / "submission")
                refuse_covering(self.submitted.values(), [case["image"] for case in listed])
            writer.settings = self._settings(parser.get_parsed_content("ckpt_path"))
            writer.check(self.cases)
            left = [case for case in self.cases if self.overwrite or not writer.is_done(case["case"])]
            for case in self.cases:
                if case not in left:
                    self._report_complete(case, writer)
            if left:
                dataset.set_data(left)
                self._segment(left, writer)
        return [case["case"] for case in self.cases if case["case"] not in self.complete]

    def _segment(self, left: list[Case], writer: ResultWriter) -> None:
        evaluator: CaseEvaluator = self.workflow.parser.get_parsed_content("evaluator")
        with tqdm(total=len(left), unit="case", leave=False, disable=None) as bar, _failures_shown():
            self._attach(evaluator, writer, left, bar)
            try:
                self.workflow.run()
            except RuntimeError as error:
                if not evaluator.failures or not isinstance(root_error(error), DatasetError):
                    raise

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

    def _report_complete(self, case: Case, writer: ResultWriter) -> None:
        try:
            self._report(case, writer, complete=True)
        except Exception as error:  # whatever it is, the other cases are not to blame
            tqdm.write(f"error: {failure_line(case['case'], error)}", file=sys.stderr)

    def _report(self, case: Case, writer: ResultWriter, complete: bool = False) -> None:
        """Say what was found in a case, after what is made of it besides its mask; a complete case may have that."""
        name, row = case["case"], writer.row(case["case"])
        folder = self.out / name
        lines = [f"{name}: warning: {row['warnings']}"] if row["warnings"] else []
        if self.maps and not (complete and is_complete(folder)):
            lines += self._write_maps(case, folder)
        picture = folder / f"{name}_panel.png"
        volumes = {"predicted lesion": row["lesion_volume_ml"]}
        if not (complete and picture.is_file()):
            volumes = draw_case(case, self.out, picture, self._maps_to_draw(case, folder))
        self._write_report(case, folder, complete)
        if name in self.submitted:
            lesion = read_nifti(folder / f"{name}_lesion.nii.gz", case=name, key="lesion")
            write_nifti(self.submitted[name], lesion.array > 0, lesion.affine)
        self.complete.add(name)
        tqdm.write(f"{name}: {'complete already: ' * complete}{describe(volumes)}; {folder}")
        for line in lines:
            tqdm.write(line)

    def _check_studies(self) -> None:
        """Raise ValueError if results are to be DICOM objects of a case that is no DICOM study."""
        others = [case["image"] for case in self.cases if STUDY_KEY not in case and FAILURE not in case]
        if self.dicom and others:
            raise ValueError(f"--dicom: expected DICOM studies, which the results are to join, got '{others[0]}'")

    def _write_report(self, case: Case, folder: Path, complete: bool) -> None:
        """Write the report and the DICOM objects, or remove those of results that are no longer there."""
        name = case["case"]
        pages = [folder / f"{name}_report.{suffix}" for suffix in ("html", "pdf")]
        if not complete:
            for page in pages:
                page.unlink(missing_ok=True)
            remove_dicom_results(folder)
        if self.report and not all(page.is_file() for page in pages):
            from ..report.case_page import write_page

            write_page(CaseResults.load(folder))
        if self.dicom and not has_dicom_results(folder):
            from ..dicom.read import read_source
            from ..dicom.write import write_dicom_results

            source = read_source(case[STUDY_KEY], series_uid=case["series_uid"])
            results = CaseResults.load(folder)
            write_dicom_results(results, source, self.out, report_pdf=pages[1] if self.report else None)

    def _maps_to_draw(self, case: Case, folder: Path) -> dict[str, Path]:
        """CBF and Tmax as the network had them: those of the case if it took these, else those that were written."""
        files = {key: folder / f"{case['case']}_{key}.nii.gz" for key in ("cbf", "tmax")} if self.maps else {}
        taken = ("cbf", "tmax") if self.options.get("use_given_maps") else ()
        return files | {key: Path(case[key]) for key in taken if key in case}

    def _write_maps(self, case: Case, folder: Path) -> list[str]:
        given = {key: self.options[key] for key in ("dt_s", "times") if key in self.options}
        return write_maps(MapsRequest(Path(case["image"]), folder, case=case, overwrite=self.overwrite, **given))

    def _settings(self, ckpt_path: Any) -> dict[str, dict[str, Any]]:
        """What the results of each case depend on besides its series, files by their SHA-256.

        The device is left out, as it changes rounding alone.
        """
        metadata = json.loads(Path(bundle_root(), "configs", "metadata.json").read_text(encoding="utf-8"))
        same = {"version": metadata["version"], "weights": sha256(ckpt_path)} | {
            key: _content(value) for key, value in self.options.items() if key in _OPTIONS
        }
        return {case["case"]: same | self._of_case(case) for case in self.cases}

    def _of_case(self, case: Case) -> dict[str, Any]:
        maps = MAP_KEYS if self.options.get("use_given_maps") else ()
        entries = {key: case[key] for key in ("orientation", TIMES_KEY, INTERVAL_KEY, *maps) if key in case}
        sidecar = sidecar_path(case["image"])
        return {"case": {key: _content(value) for key, value in entries.items()}} | (
            {"sidecar": sha256(sidecar)} if sidecar.is_file() else {}
        )


def _content(value: Any) -> Any:
    """The SHA-256 of a file; any other value as it is."""
    return sha256(value) if isinstance(value, (str, os.PathLike)) and os.path.isfile(value) else value


def _workflow(overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """`configs/inference.json` with overrides; paths stay `Path` objects, which MONAI never evaluates."""
    for name in ("monai.bundle.workflows", "monai.bundle.config_parser"):  # how MONAI works, at level WARNING
        logging.getLogger(name).setLevel(logging.ERROR)
    config_file = os.path.join(bundle_root(), "configs", "inference.json")
    workflow = ConfigWorkflow(config_file=config_file, workflow_type="infer", logging_file=False, **overrides)
    handlers = workflow.parser["handlers"]
    for handler in handlers:
        if isinstance(handler, dict) and handler["_target_"] == "ignite.handlers.ProgressBar":
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
