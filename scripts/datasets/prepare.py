"""Cases whose files lie on several grids, or are DICOM, brought onto the grid of their series in a folder of their own.

A case becomes `<folder>/<case>`: the series (a hard link where the file system has them, else a copy; DICOM is
converted), its JSON sidecar, maps, DWI and label on its grid, and `prepared.json`, which is written last. A case whose
sources are those that `prepared.json` records is not computed again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dicom.convert import converted
from ..io.atomic import write_json
from ..io.atomic_folder import files_together
from ..io.case import FILE_KEYS, GRID_TOLERANCE_MM, LABEL_KEY, MAP_KEYS, SERIES_KEY, VOLUME_KEYS, grid_shift_mm
from ..io.errors import CaseError, OptionError, root_error
from ..io.nifti import open_nifti, read_nifti, write_nifti
from .dicom_volume import read_map
from .found import Found, sidecar
from .isles2024 import REFERENCE_KEY
from .refine import Refinement, refine
from .resample import label_onto_grid, onto_grid

MARKER = "prepared.json"
VERSION = 1
"""Of what is computed; raised when results change, so that earlier ones are not taken for it."""

Report = Callable[[str], None]


def check_folder(folder: Path, root: Path) -> None:
    """Refuse a folder that holds the data set or lies in it.

    Raises:
        OptionError: it does.
    """
    inner, outer = folder.resolve(), root.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise OptionError(f"prepared '{folder}': expected a folder apart from the data set '{root}', got one inside it")


def prepare(
    found: Found, root: Path, folder: Path, report: Report = lambda line: None, *, registered: bool = False
) -> list[dict[str, Any]]:
    """Prepare the cases that have no problem; note those that cannot be prepared.

    Args:
        found: the cases; problems are added to it.
        root: the folder of the data set.
        folder: where to.
        report: is told a line for each case.
        registered: register the series of each case to its reference, see `scripts.datasets.refine`, if that raises
            their mutual information; volumes that are not on the grid of the series are moved with the reference.

    Returns:
        The entries of the prepared cases for a datalist, with paths relative to `folder`.
    """
    check_folder(folder, root)
    cases, entries = found.usable, []
    for number, case in enumerate(cases, start=1):
        name = case["case"]
        try:
            entry, what = _prepared(case, root, folder, registered)
        except Exception as error:  # of one case; the others go on
            cause = root_error(error)
            line = str(cause) if name in str(cause) else f"case '{name}': {type(cause).__name__}: {cause}"
            found.add(name, line)
            report(f"{number}/{len(cases)} {name}: failed")
            continue
        entries.append(entry)
        report(f"{number}/{len(cases)} {name}: {what}")
    return entries


def _prepared(case: Mapping[str, Any], root: Path, folder: Path, registered: bool) -> tuple[dict[str, Any], str]:
    """The entry of a case, and what was done."""
    target = folder / case["case"]
    made_of = {"version": VERSION, "registered": registered, "sources": _sources(case, root)}
    if (entry := _earlier(target / MARKER, made_of, folder)) is not None:
        return entry, "is there"
    # Files of an earlier run that this one does not write are removed: they may be of other sources.
    old = [path.name for path in target.glob(f"{case['case']}_*")] if target.is_dir() else []
    with files_together(target, MARKER, replaced=old) as complete:
        series = _write_series(case, complete)
        record, what, to_reference = _reference(case), "prepared", np.eye(4)
        if registered and REFERENCE_KEY in case:
            found = _registration(case, series)
            record, to_reference = record | {"registration": found.as_json()}, found.matrix
            change = f"mutual information {found.before:.3f} -> {found.after:.3f}"
            what = f"prepared, {'registered' if found.kept else 'not registered'}: {change}"
        files = {SERIES_KEY: series.name} | _write_volumes(case, series, to_reference, complete)
        entry = {key: value for key, value in case.items() if key not in (*FILE_KEYS, REFERENCE_KEY)}
        entry |= {key: f"{case['case']}/{name}" for key, name in files.items()}
        write_json(complete / MARKER, made_of | {"entry": entry} | record)
    return entry, what


def _registration(case: Mapping[str, Any], series: Path) -> Refinement:
    """Of the mean frame of a series to the reference."""
    volume = read_nifti(series, case=case["case"], key=SERIES_KEY)
    reference = read_nifti(case[REFERENCE_KEY], case=case["case"], key=REFERENCE_KEY)
    frame = volume.array.reshape(*volume.array.shape[:3], -1).mean(axis=3)
    return refine(frame, volume.affine, reference.array.reshape(reference.array.shape[:3]), reference.affine)


def _write_volumes(case: Mapping[str, Any], series: Path, to_reference: NDArray, out: Path) -> dict[str, str]:
    """Write maps, DWI and label of a case on the grid of its series; returns their names by key."""
    name = case["case"]
    image = open_nifti(series, case=name, key=SERIES_KEY)
    shape, affine = image.shape[:3], image.affine
    files = {}
    for key in VOLUME_KEYS:
        if key not in case:
            continue
        values, own_affine = _read(case, key)
        native = values.shape == shape and grid_shift_mm(own_affine, affine, shape) <= GRID_TOLERANCE_MM
        grid = affine if native else to_reference @ affine
        if key == LABEL_KEY:
            if not np.isin(values, (0, 1)).all():
                raise CaseError.of(name, key, case[key], "a label of 0 and 1", f"up to {values.max():g}")
            result: NDArray = label_onto_grid(values, own_affine, shape, grid)
        else:
            result = onto_grid(without_filling(values, key), own_affine, shape, grid)
            if not result.any():
                raise CaseError.of(name, key, case[key], "values inside the series", "none: it lies elsewhere")
        files[key] = f"{name}_{key}.nii.gz"
        write_nifti(out / files[key], result, affine)
    return files


def without_filling(values: NDArray, key: str) -> NDArray:
    """An image in which what stands for "no value" is 0: NaN, and in maps values below 0, such as a Tmax of -30."""
    missing = ~np.isfinite(values)
    if key in MAP_KEYS:
        missing |= values < 0
    return np.where(missing, np.float32(0), values)


def _read(case: Mapping[str, Any], key: str) -> tuple[NDArray, NDArray]:
    path = Path(case[key])
    if path.is_dir():
        return read_map(path)
    volume = read_nifti(path, case=case["case"], key=key)
    return volume.array.reshape(volume.array.shape[:3]), volume.affine


def _write_series(case: Mapping[str, Any], out: Path) -> Path:
    name, source = case["case"], Path(case[SERIES_KEY])
    if source.is_dir():
        scratch = out / "dicom"
        series = Path(converted(source, scratch, dt_s=case.get("dt_s"))[SERIES_KEY])
        target = out / f"{name}_ctp.nii"
        series.replace(target)
        series.with_suffix(".json").replace(target.with_suffix(".json"))
        shutil.rmtree(scratch)
        return target
    target = out / f"{name}_ctp{'.nii.gz' if source.name.lower().endswith('.gz') else '.nii'}"
    _link(source, target)
    if (times := sidecar(source)) is not None:
        _link(times, out / f"{name}_ctp.json")
    return target


def _link(source: Path, target: Path) -> None:
    if os.access(source, os.W_OK):  # a file that cannot be opened for writing cannot be waited for either
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)


def _sources(case: Mapping[str, Any], root: Path) -> dict[str, list[Any]]:
    """Path, size and time of change of each source of a case; of a folder, the sum and the latest."""
    sources: dict[str, list[Any]] = {}
    for key in (*FILE_KEYS, REFERENCE_KEY):
        if key in case:
            path = Path(case[key])
            files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
            states = [file.stat() for file in files]
            size, changed = sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)
            sources[key] = [path.relative_to(root).as_posix(), size, changed]
    image = Path(case[SERIES_KEY])
    if not image.is_dir() and (times := sidecar(image)) is not None:
        sources["sidecar"] = [times.relative_to(root).as_posix(), times.stat().st_size, times.stat().st_mtime_ns]
    return sources


def _earlier(marker: Path, made_of: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """The entry of a case that was prepared in the same way from the same sources."""
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        if any(content[key] != value for key, value in made_of.items()):
            return None
        entry = content["entry"]
        return entry if all((folder / entry[key]).is_file() for key in FILE_KEYS if key in entry) else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or not ours
        return None


def _reference(case: Mapping[str, Any]) -> dict[str, Any]:
    """The grid on which a challenge wants the prediction, see :func:`scripts.datasets.resample.to_reference_grid`."""
    if REFERENCE_KEY not in case:
        return {}
    image = open_nifti(case[REFERENCE_KEY], case=case["case"], key=REFERENCE_KEY)
    return {REFERENCE_KEY: {"shape": list(image.shape[:3]), "affine": image.affine.tolist()}}
