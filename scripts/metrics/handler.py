"""The metrics of every case of an evaluation, as an Ignite handler."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import string_list_all_gather
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation

from ..io.atomic import atomic_path, write_json
from ..io.case import FILE_KEYS, case_name
from ..io.covering import refuse_covering
from ..io.errors import DatasetError
from ..io.names import csv_cell, repeated_names
from .case import METRICS, case_metrics
from .strata import ALL, by_stratum, summarize

COLUMNS = ("case", "stratum", *METRICS)
TABLE, SUMMARY = "metrics.csv", "summary.json"


class CaseMetrics:
    """Ignite handler that measures every case of an evaluation on its own grid.

    At the end of the epoch it writes `<output_dir>/metrics.csv` (one row per case; undefined metrics are empty cells)
    and `<output_dir>/summary.json` (mean, sd and n of each metric, by stratum), both atomically. The means over all
    cases go to `engine.state.metrics` as `<prefix><metric>`, for example `val_mean_dice`.

    MONAI's `MetricsSaver` writes one file per metric; here a row holds all metrics of a case.

    After postprocessing, the engine's batch and output are lists of dictionaries (as MONAI's evaluators make them) with

    - `pred`: (1, H, W, D), the lesion mask; `label`: (1, H, W, D), the true one. `pred` is a `MetaTensor` with the
      affine of the case, unless `affine` is among the keys;
    - optional `pseudo_dwi` and `dwi`: (1, H, W, D), both in the scale (0, 1); `has_dwi`, false for a case whose `dwi`
      is a placeholder;
    - `case`: its name.

    Args:
        output_dir: folder of the two files; None to write none.
        prefix: of the names in `engine.state.metrics`.
        inputs: other files that no output may overwrite, such as weights and datalist.

    Raises:
        DatasetError: an output would overwrite an input, or two cases have the same name; raised before the first case.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str] | None = None,
        prefix: str = "val_mean_",
        inputs: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.prefix = prefix
        self.inputs = list(inputs)
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.STARTED, self._check)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _check(self, engine: Engine) -> None:
        state: Any = engine.state
        cases = getattr(getattr(state.dataloader, "dataset", None), "data", [])
        problems = repeated_names(map(case_name, cases))  # a row each: one would take the other's
        if problems:
            raise DatasetError(problems)
        if self.output_dir is not None:
            inputs = [case[key] for case in cases for key in FILE_KEYS if isinstance(case.get(key), (str, os.PathLike))]
            refuse_covering([self.output_dir / name for name in (TABLE, SUMMARY)], [*inputs, *self.inputs])

    def _start(self, engine: Engine) -> None:
        self.rows = []

    def _measure(self, engine: Engine) -> None:
        state: Any = engine.state  # Ignite types what a batch and an output are as an int
        for batch, output in zip(state.batch, state.output, strict=True):
            self.rows.append(row_of({**batch, **output}))

    def _finish(self, engine: Engine) -> None:
        self.rows = _gather(self.rows)
        summary = summarize(self.rows, METRICS)
        means = {name: values["mean"] for name, values in summary[ALL].items() if values["mean"] is not None}
        engine.state.metrics.update({f"{self.prefix}{name}": mean for name, mean in means.items()})
        if self.output_dir is not None and idist.get_rank() == 0:
            write_rows(self.output_dir / TABLE, self.rows)
            counts = {stratum: len(members) for stratum, members in by_stratum(self.rows).items()}
            write_json(self.output_dir / SUMMARY, {"cases": counts, "metrics": summary})


def row_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one case; see `CaseMetrics` for the keys.

    Raises:
        ValueError: a key is missing, or an image has not one channel.
    """
    missing = [key for key in ("case", "pred", "label") if key not in item]
    if missing:
        raise ValueError(f"item: missing keys: {', '.join(missing)}; expected 'case', 'pred' and 'label'")
    affine = item.get("affine", getattr(item["pred"], "affine", None))
    if affine is None:
        raise ValueError(f"case '{item['case']}': expected 'pred' as a MetaTensor or the key 'affine', got neither")
    images = {key: _volume(item, key) for key in ("pred", "label")}
    if "pseudo_dwi" in item and "dwi" in item and bool(item.get("has_dwi", True)):
        images |= {key: _volume(item, key) for key in ("pseudo_dwi", "dwi")}
    affine = np.asarray(affine, dtype=float)
    # SSIM and the local metrics are computed in the slice, whichever axis of the file is the slice axis.
    slice_axis = int(io_orientation(affine)[:, 0].tolist().index(2))
    images = {key: np.moveaxis(image, slice_axis, 2) for key, image in images.items()}
    spacing_mm = voxel_sizes(affine).tolist()
    spacing_mm.append(spacing_mm.pop(slice_axis))
    return {
        "case": str(item["case"]),
        **case_metrics(
            images["pred"] > 0.5,
            images["label"] > 0.5,
            spacing_mm,
            pseudo_dwi=images.get("pseudo_dwi"),
            dwi=images.get("dwi"),
        ),
    }


def write_rows(path: str | os.PathLike[str], rows: list[dict[str, Any]]) -> None:
    """Write the rows of cases as CSV, atomically; numbers have 6 decimals, and NaN is an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if np.isnan(value) else round(value, 6)
    return csv_cell(value)


def _volume(item: Mapping[str, Any], key: str) -> np.ndarray:
    image = torch.as_tensor(item[key])
    if image.ndim != 4 or len(image) != 1:
        raise ValueError(f"case '{item['case']}', {key}: expected one channel (1, H, W, D), got {tuple(image.shape)}")
    return image[0].detach().float().cpu().numpy()


def _gather(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all processes, each case once: a distributed sampler repeats cases so that all processes have as
    many.
    """
    if idist.get_world_size() > 1:
        rows = [json.loads(text) for text in string_list_all_gather([json.dumps(row) for row in rows])]
    return list({row["case"]: row for row in rows}.values())
