"""One case of `ctp-stroke agreement`: its maps computed, and compared with the given ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from ..io.atomic import write_json
from ..io.case import LABEL_KEY, MAP_KEYS, SERIES_KEY, check_headers
from ..io.covering import refuse_covering
from ..io.errors import CaseError
from ..io.frame_times import INTERVAL_KEY, TIMES_KEY, sidecar_path
from ..io.nifti import read_nifti
from ..io.orientation import CanonicalFrame
from ..io.origin import sha256
from ..io.paths import bundle_root
from ..metrics.agreement import dice, pearson_r
from ..metrics.agreement_summary import THRESHOLDS_S
from ..perfusion.core_and_mismatch import Reading, read_maps
from ..perfusion.maps import Method
from .perfusion_maps import MapsRequest, write_maps

RECORD = "agreement.json"
_COMPARED = ("cbf", "cbv", "tmax")
"""Maps that the reading needs; a given MTT is compared if there is one."""
_DELAY = "6"
"""s; of the volumes of Tmax."""

Maps = Mapping[str, NDArray[np.floating]]


class CaseAgreement(NamedTuple):
    """What is found in a case."""

    row: dict[str, Any]
    """See `scripts.metrics.agreement_summary.COLUMNS`."""
    threshold_dice: list[float]
    """Of the computed Tmax above each of `THRESHOLDS_S` with the delay of the given maps."""


def case_agreement(
    case: Mapping[str, Any],
    folder: Path,
    *,
    method: Method = "bayesian",
    dt_s: float | None = None,
    overwrite: bool = False,
) -> CaseAgreement:
    """Compute the maps of a case into a folder, as `ctp-stroke maps` does, and compare them with its given maps.

    What was found is kept in the folder as `agreement.json`, and is read from there if nothing that it was made of has
    changed.

    Raises:
        CaseError: a given map is missing or not in the brain; see also `scripts.io.case.load_case`.
        DatasetError, OSError: files do not fit, cannot be read or written.
    """
    name = str(case["case"])
    missing = [key for key in _COMPARED if case.get(key) is None]
    if missing:
        raise CaseError.of(name, ", ".join(missing), None, "given maps to compare with", "none in the datalist")
    check_headers([case])
    record, made_of = folder / RECORD, _made_of(case, method, dt_s)
    inputs = [Path(case[key]) for key in (SERIES_KEY, *MAP_KEYS, LABEL_KEY) if case.get(key) is not None]
    refuse_covering([record, *(folder / path.name for path in inputs)], inputs)  # whatever of them lies in the folder
    kept = _kept(record, made_of)
    if kept is not None and not overwrite:
        return kept
    write_maps(MapsRequest(Path(case[SERIES_KEY]), folder, case=case, method=method, dt_s=dt_s, overwrite=overwrite))
    found = _compare(case, folder)
    row = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in found.row.items()}
    threshold_dice = [None if math.isnan(value) else value for value in found.threshold_dice]
    write_json(record, {"made_of": made_of, "row": row, "threshold_dice": threshold_dice})
    return found


def compare_maps(
    computed: Maps, given: Maps, tissue: NDArray[np.bool_], affine: NDArray[np.float64], label: NDArray | None = None
) -> CaseAgreement:
    """Compare two sets of maps on one grid, both read by `scripts.perfusion.core_and_mismatch.read_maps`.

    The voxels compared are those of the tissue where the given CBF, CBV and Tmax are finite, none of them is negative
    (software fills what it does not show with values such as -30), and not all of them are 0.

    Args:
        computed: `cbf` (ml/100 g/min), `cbv` (ml/100 g), `mtt` (s) and `tmax` (s), (H, W, D) in RAS.
        given: the same, `mtt` optional; finite or not.
        tissue: (H, W, D), brain without vessels and fluid.
        affine: (4, 4), voxel indices to mm.
        label: (H, W, D), the infarct; compared as a whole, also outside of the tissue.

    Returns:
        The row without the names of case and subject. NaN: Dice of two empty masks, r of a constant map, a core without
        enough normal tissue.

    Raises:
        ValueError: no voxel can be compared.
    """
    shown = np.any([given[key] != 0 for key in _COMPARED], axis=0)
    compared = tissue & shown & np.all([_valid(given[key]) for key in _COMPARED], axis=0)
    if not compared.any():
        raise ValueError("given maps: expected values in the tissue of the brain, got none")
    size = voxel_sizes(affine).tolist()
    voxel_ml = math.prod(size) / 1000
    reading, core, delay = _read(computed, compared, affine)
    given_reading, given_core, given_delay = _read(given, compared, affine)
    known = {"core": math.isfinite(reading.core_ml), "given_core": math.isfinite(given_reading.core_ml)}
    row: dict[str, Any] = {
        "tissue_ml": float(tissue.sum()) * voxel_ml,
        "compared_ml": float(compared.sum()) * voxel_ml,
        **{f"{key}_r": _voxel_r(computed, given, key, compared) for key in MAP_KEYS},
        "delay_ml": reading.tmax_ml[_DELAY],
        "given_delay_ml": given_reading.tmax_ml[_DELAY],
        "core_ml": reading.core_ml,
        "given_core_ml": given_reading.core_ml,
        "delay_dice": dice(delay, given_delay),
        "core_dice": dice(core, given_core) if all(known.values()) else math.nan,
        "defuse3": reading.flags["defuse3"]["met"],
        "given_defuse3": given_reading.flags["defuse3"]["met"],
    }
    infarct = None if label is None else label > 0
    masks = {"core": core, "given_core": given_core, "delay": delay, "given_delay": given_delay}
    for key, mask in masks.items():
        row[f"{key}_infarct_dice"] = dice(mask, infarct) if infarct is not None and known.get(key, True) else math.nan
    row["infarct_ml"] = math.nan if infarct is None else float(infarct.sum()) * voxel_ml
    tmax = computed["tmax"]
    return CaseAgreement(row, [dice(compared & (tmax > threshold), given_delay) for threshold in THRESHOLDS_S])


def _read(
    maps: Maps, tissue: NDArray[np.bool_], affine: NDArray[np.float64]
) -> tuple[Reading, NDArray[np.bool_], NDArray[np.bool_]]:
    cbf, cbv, tmax, inside = (
        torch.from_numpy(np.ascontiguousarray(array)) for array in (*(maps[key] for key in _COMPARED), tissue)
    )
    size = voxel_sizes(affine).tolist()
    reading, core, delay = read_maps(cbf, cbv, tmax, inside, torch.from_numpy(affine), (size[0], size[1], size[2]))
    return reading, core.numpy(), delay.numpy()


def _voxel_r(computed: Maps, given: Maps, key: str, compared: NDArray[np.bool_]) -> float:
    if key not in given:
        return math.nan
    inside = compared & _valid(given[key])
    return pearson_r(computed[key][inside], given[key][inside])


def _valid(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.isfinite(values) & (values >= 0)


def _compare(case: Mapping[str, Any], folder: Path) -> CaseAgreement:
    """Compare the files of a case."""
    name = str(case["case"])
    tissue = read_nifti(folder / f"{name}_tissue.nii.gz", case=name, key="tissue")
    shape = tissue.array.shape
    frame = CanonicalFrame(tissue.affine, shape)

    def volume(path: str | Path, key: str) -> NDArray[np.float32]:
        return frame.to_canonical(read_nifti(path, case=name, key=key).array.reshape(shape))

    computed = {key: volume(folder / f"{name}_{key}.nii.gz", key) for key in MAP_KEYS}
    given = {key: volume(case[key], key) for key in MAP_KEYS if case.get(key) is not None}
    label = volume(case[LABEL_KEY], LABEL_KEY) if case.get(LABEL_KEY) is not None else None
    try:
        found = compare_maps(computed, given, frame.to_canonical(tissue.array) > 0, frame.affine, label)
    except ValueError as error:
        expected = "maps of this series, in ml/100 g/min, ml/100 g and s"
        raise CaseError.of(name, "tmax", case["tmax"], expected, str(error)) from error
    return found._replace(row={"case": name, "subject": str(case.get("subject", "")), **found.row})


def _made_of(case: Mapping[str, Any], method: Method, dt_s: float | None) -> dict[str, Any]:
    """What the result of a case depends on, files by their SHA-256."""
    files = {key: sha256(case[key]) for key in (SERIES_KEY, *MAP_KEYS, LABEL_KEY) if case.get(key) is not None}
    sidecar = sidecar_path(case[SERIES_KEY])
    times = case.get(TIMES_KEY)
    version = json.loads(Path(bundle_root(), "configs", "metadata.json").read_text(encoding="utf-8"))["version"]
    return {
        "version": version,
        "method": method,
        "dt_s": dt_s,
        "files": files,
        "sidecar": sha256(sidecar) if sidecar.is_file() else None,
        "times": sha256(times) if isinstance(times, str) else times,
        **{key: case.get(key) for key in ("orientation", INTERVAL_KEY, "subject")},
    }


def _kept(record: Path, made_of: Mapping[str, Any]) -> CaseAgreement | None:
    """The result of an earlier run of the same files and settings."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        if content["made_of"] != made_of:
            return None
        decisions = ("defuse3", "given_defuse3")
        row = {
            key: math.nan if value is None and key not in decisions else value for key, value in content["row"].items()
        }
        return CaseAgreement(row, [math.nan if value is None else value for value in content["threshold_dice"]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
