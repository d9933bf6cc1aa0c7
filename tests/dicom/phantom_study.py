"""A case of the phantom as a scan that the vendors' layouts can be made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from scripts.phantom import ensure_cohort
from tests.dicom import vendors
from tests.dicom.vendors import Scan


def phantom_scan(folder: Path, seed: int = 11, matrix: int = 256) -> Scan:
    """The series of a case, made in `folder`, rounded to whole HU."""
    ensure_cohort(folder, (0, 0, 1), seed, workers=1, matrix=matrix)
    (found,) = json.loads((folder / "datalist.json").read_text())["testing"]
    image = nib.load(folder / found["image"])
    hu = np.rint(np.asarray(image.dataobj)).clip(-1024, 3071).astype(np.int16)
    dt_s = float(image.header["pixdim"][4])
    size = np.abs(np.diag(image.affine)[:3]).tolist()
    return replace(
        vendors.scan(),
        hu=hu,
        times_s=np.tile(np.arange(hu.shape[3]) * dt_s, (hu.shape[2], 1)),
        spacing_mm=(size[1], size[0]),
        step_mm=(0.0, 0.0, size[2]),
    )
