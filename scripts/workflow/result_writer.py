"""Writing what inference found: three images a case and one row a case."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from scipy.ndimage import label as connected_components

from ..io.atomic import atomic_path
from ..io.nifti import write_nifti

COLUMNS = ("case", "lesion_volume_ml", "lesion_slices", "largest_component_ml", "components", "warnings")


def lesion_row(case: str, lesion: np.ndarray, affine: np.ndarray, warnings: str = "") -> dict[str, Any]:
    """Describe a lesion mask in one row.

    Args:
        case: name of the case.
        lesion: boolean mask (H, W, D) on the grid of the case.
        affine: (4, 4), voxel indices to mm.
        warnings: what the processing warned of.

    Returns:
        The case, its lesion volume in ml, the number of axial slices that the lesion touches, the volume in ml of its
        largest component (26-neighbourhood), the number of components, and the warnings.
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
    """Ignite handler that writes the results of inference.

    For every case: ``<output_dir>/<case>/<case>_lesion.nii.gz`` (uint8), ``_probability.nii.gz`` (float32) and, where
    the network makes one, ``_pseudo_dwi.nii.gz`` (float32), on the grid of the case. At the end:
    ``<output_dir>/cases.csv``. A case's folder appears when it is complete, and so does the table.

    It expects, after postprocessing, the keys ``case``, ``warnings``, ``pred`` (the mask), ``probability`` and
    optionally ``pseudo_dwi`` in the engine's batch and output.

    Args:
        output_dir: folder of the results.
    """

    def __init__(self, output_dir: str | os.PathLike[str]):
        self.output_dir = Path(output_dir)
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the inference."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write_cases)
        engine.add_event_handler(Events.COMPLETED, self._write_table)

    def _start(self, engine: Engine) -> None:
        self.rows = []

    def _write_cases(self, engine: Engine) -> None:
        state: Any = engine.state  # Ignite types what a batch and an output are as an int
        for batch, output in zip(state.batch, state.output, strict=True):
            self.rows.append(self.write_case({**batch, **output}))

    def write_case(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Write the images of one case and return its row."""
        case = str(item["case"])
        affine = np.asarray(item["pred"].affine, dtype=np.float64)
        lesion = item["pred"][0].cpu().numpy() > 0.5
        images = {"lesion": lesion, "probability": _volume(item["probability"])}
        descriptions = {"lesion": "ischemic lesion (1)", "probability": "lesion probability"}
        if "pseudo_dwi" in item:
            images["pseudo_dwi"] = _volume(item["pseudo_dwi"])
            descriptions["pseudo_dwi"] = "pseudo-DWI, (0, 1)"
        self.output_dir.mkdir(parents=True, exist_ok=True)
        # A folder cannot be replaced in one step: the new one is complete before the old one goes.
        with tempfile.TemporaryDirectory(prefix=f".{case}.", dir=self.output_dir) as temporary:
            complete = Path(temporary) / case
            for name, image in images.items():
                write_nifti(complete / f"{case}_{name}.nii.gz", image, affine, description=descriptions[name])
            target = self.output_dir / case
            if target.exists():
                shutil.move(target, Path(temporary) / "replaced")
            os.replace(complete, target)
        return lesion_row(case, lesion, affine, str(item.get("warnings", "")))

    def _write_table(self, engine: Engine) -> None:
        with atomic_path(self.output_dir / "cases.csv") as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)


def _volume(image: torch.Tensor) -> np.ndarray:
    return image[0].float().cpu().numpy()
