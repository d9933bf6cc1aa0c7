"""Writing what inference found: three images a case and one row a case."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from scipy.ndimage import label as connected_components

from ..io.atomic import atomic_path, write_json
from ..io.atomic_folder import files_together
from ..io.case import FILE_KEYS, SERIES_KEY, case_name
from ..io.case_record import COLUMNS, read_record
from ..io.covering import refuse_covering
from ..io.errors import DatasetError
from ..io.frame_times import TIMES_KEY
from ..io.names import csv_cell, repeated_names
from ..io.nifti import write_nifti
from ..io.origin import is_other, origin, sha256

IMAGES = {"lesion": "ischemic lesion (1)", "probability": "lesion probability", "pseudo_dwi": "pseudo-DWI, (0, 1)"}


def lesion_row(case: str, lesion: np.ndarray, affine: np.ndarray, warnings: str = "") -> dict[str, Any]:
    """Describe a lesion mask in one row.

    Args:
        case: name of the case.
        lesion: boolean mask (H, W, D) on the grid of the case.
        affine: (4, 4), voxel indices to mm.
        warnings: what the processing warned of.

    Returns:
        The case, its lesion volume in ml, the number of axial slices that the lesion touches, the volume in ml of its
        largest component (26-neighborhood), the number of components, and the warnings.
    """
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    slice_axis = int(np.argmax(np.abs(affine[2, :3]) / np.linalg.norm(affine[:3, :3], axis=0)))
    components, count = connected_components(lesion, structure=np.ones((3, 3, 3)))
    largest = int(np.bincount(components.ravel())[1:].max()) if count else 0
    return {
        "case": case,
        "lesion_volume_ml": round(int(lesion.sum()) * voxel_ml, 3),
        "lesion_slices": int(lesion.any(axis=tuple({0, 1, 2} - {slice_axis})).sum()),
        "largest_component_ml": round(largest * voxel_ml, 3),
        "components": int(count),
        "warnings": warnings,
    }


class ResultWriter:
    """Ignite handler that writes the results of inference, each case when it is finished.

    For every case: ``<output_dir>/<case>/<case>_lesion.nii.gz`` (uint8), ``_probability.nii.gz`` (float32) and, where
    the network makes one, ``_pseudo_dwi.nii.gz`` (float32), on the grid of the case, and ``_result.json``: the case's
    row of the table, the path of its series, the SHA-256 of that file, the frame times that were used, and the
    settings. The last is the commit marker: a case without it is not complete. ``<output_dir>/cases.csv`` has a row for
    every complete case in the folder, of this run or of an earlier one. A row goes before its mask is replaced and
    comes back after, so that none is older than its mask.

    Files are replaced one by one, and only these. Before anything is computed the handler refuses, for the cases that
    the data loader's dataset lists: two cases of one name; an output that would cover an input; results of another
    series, which neither lies at the same path nor has the same bytes, under the name of a case.

    It expects, after postprocessing, the keys ``case``, ``warnings``, ``pred`` (the mask), ``probability`` and
    optionally ``pseudo_dwi`` in the engine's batch and output.

    Args:
        output_dir: folder of the results.
        inputs: files besides those of the cases that no output may cover, such as weights and datalist; None is none.
        overwrite: whether results of another series are replaced.
        settings: what the results of each case depend on besides its series, such as the weights; its record holds
            it, see :meth:`is_done`.

    Raises:
        DatasetError: something is refused; all of it is listed.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        inputs: Sequence[str | os.PathLike[str] | None] = (),
        overwrite: bool = False,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        self.output_dir = Path(output_dir)
        self.settings = settings or {}
        self.inputs = list(inputs)
        self.overwrite = overwrite
        self.series: dict[str, str] = {}

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the inference."""
        engine.add_event_handler(Events.STARTED, self._start)
        # Within the iteration, after postprocessing: what fails here is this case's failure (see CaseEvaluator).
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._write_cases)

    def _start(self, engine: Engine) -> None:
        state: Any = engine.state  # Ignite types what a batch and an output are as an int
        self.check(getattr(getattr(state.dataloader, "dataset", None), "data", []))
        if self.output_dir.is_dir():
            self._write_table()  # a kill may have come before it

    def check(self, cases: Sequence[Mapping[str, Any]]) -> None:
        """Refuse cases whose results would take the place of something else; see :class:`ResultWriter`."""
        names = [case_name(case) for case in cases]
        paths = [case.get(SERIES_KEY) for case in cases]
        self.series = {
            name: os.path.realpath(path)
            for name, path in zip(names, paths, strict=True)
            if isinstance(path, (str, os.PathLike))
        }
        problems = repeated_names(names)
        if not self.overwrite:
            problems += [line for name in names if (line := self._other_series(name))]
        if problems:
            raise DatasetError(problems)
        keys = (*FILE_KEYS, TIMES_KEY)
        inputs = [case[key] for case in cases for key in keys if isinstance(case.get(key), (str, os.PathLike))]
        more = [path for path in self.inputs if path is not None]
        refuse_covering([path for name in names for path in self._outputs(name)], [*inputs, *more])

    def is_done(self, case: str) -> bool:
        """Whether the results of a case are complete and of the same series and settings, as its record says."""
        record, series = read_record(self._record(case)), self.series.get(case)
        if not record or series is None or record.get("settings") != self.settings.get(case):
            return False
        return os.path.isfile(series) and (record["series"] or {}).get("sha256") == sha256(series)

    def row(self, case: str) -> dict[str, Any]:
        """The row of a complete case."""
        return read_record(self._record(case))["row"]

    def _outputs(self, case: str) -> list[Path]:
        folder = self.output_dir / case
        return [self._table(), self._record(case), *(folder / f"{case}_{name}.nii.gz" for name in IMAGES)]

    def _table(self) -> Path:
        return self.output_dir / "cases.csv"

    def _record(self, case: str) -> Path:
        return self.output_dir / case / f"{case}_result.json"

    def _other_series(self, case: str) -> str | None:
        """A line about results of another series under the name of a case."""
        before, now = read_record(self._record(case)).get("series"), self.series.get(case)
        if before is None or now is None or not is_other(before, now):
            return None
        return (
            f"case '{case}', image '{now}': expected a name of its own in '{self.output_dir}', got the results of "
            f"'{before['path']}' there; choose another output_dir, or set overwrite to True"
        )

    def _write_cases(self, engine: Engine) -> None:
        state: Any = engine.state
        for batch, output in zip(state.batch, state.output, strict=True):
            self.write_case({**batch, **output})

    def write_case(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Write the images of one case, its record and the table; return its row."""
        case = str(item["case"])
        affine = np.asarray(item["pred"].affine, dtype=np.float64)
        lesion = item["pred"][0].cpu().numpy() > 0.5
        images = {"lesion": lesion, "probability": _volume(item["probability"])}
        if "pseudo_dwi" in item:
            images["pseudo_dwi"] = _volume(item["pseudo_dwi"])
        row = lesion_row(case, lesion, affine, str(item.get("warnings", "")))
        record, series = self._record(case), self.series.get(case)
        with files_together(record.parent, last=record.name) as complete:
            for name, image in images.items():
                write_nifti(complete / f"{case}_{name}.nii.gz", image, affine, description=IMAGES[name])
            made_of = {"series": None if series is None else origin(series), "frame_times": _frame_times(item)}
            settings = self.settings.get(case)
            write_json(complete / record.name, {"row": row, **made_of, "settings": settings})
            if record.exists():
                record.unlink()
                self._write_table()
        self._write_table()
        return row

    def _write_table(self) -> None:
        """Write the rows of all complete cases in the folder."""
        rows = [read_record(path).get("row") for path in self.output_dir.glob("*/*_result.json")]
        complete = sorted((row for row in rows if row), key=lambda row: _natural(row["case"]))
        if not complete and not self._table().exists():
            return
        with atomic_path(self._table()) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows({column: csv_cell(row[column]) for column in COLUMNS} for row in complete)


def _frame_times(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """The frame times of a preprocessed case, as its record has them; None where nothing stated them."""
    return json.loads(item["times_record"]) if item.get("times_record") else None


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts case_9 before case_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _volume(image: torch.Tensor) -> np.ndarray:
    return image[0].float().cpu().numpy()
