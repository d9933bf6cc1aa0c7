"""One case: a CT-perfusion series with, optionally, its maps, DWI and lesion label, read and checked."""

import re
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from .errors import CaseError, DatasetError
from .frame_times import Stated, check_stated_times, find_frame_times
from .gate import VALUES, fatal_text, findings, header_findings, oriented_affine
from .names import name_problem
from .nifti import open_nifti, read_nifti

SERIES_KEY = "image"
MAP_KEYS = ("cbf", "cbv", "mtt", "tmax")
LABEL_KEY = "label"
VOLUME_KEYS = (*MAP_KEYS, "dwi", LABEL_KEY)
FILE_KEYS = (SERIES_KEY, *VOLUME_KEYS)

MIN_FRAMES = 12
"""Fewer frames cannot show a bolus: ISLES 2018 has 43 to 64, and Eq. 2-3 of Wang 2020 look at 5 in a row, twice."""

MIN_PIXELS = 4
"""Of two axes at least: with fewer there is no gradient within a slice. CT has 128 to 512."""

GRID_TOLERANCE_MM = 0.1
"""How far apart the same voxel may lie in two files of a case.

An eighth of the smallest ISLES 2018 pixel (0.80 mm), and above what a float32 quaternion in a NIfTI header loses at the
far corner of a head (up to 0.08 mm near half turns).
"""

_ISLES_FOLDER = re.compile(r"case_\d+", re.IGNORECASE)
"""ISLES 2018 counts its cases: `case_studies` is somebody's folder."""


class _Grid(NamedTuple):
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    frames: int


def case_name(case: Mapping[str, Any]) -> str:
    """The name of a case: its `case` entry; else the ISLES folder's name in its path (`case_7`); else the file's stem.

    Raises:
        CaseError: the name cannot serve as a folder name (see :func:`scripts.io.names.name_problem`), or there is
            neither a name nor an image.
    """
    name = case.get("case")
    if name is None:
        if not isinstance(case.get(SERIES_KEY), (str, PathLike)):
            raise CaseError(f"case {dict(case)}: expected the key '{SERIES_KEY}' with the path of a 4D series")
        path = PurePath(fspath(case[SERIES_KEY]))
        folders = [part for part in path.parts[:-1] if _ISLES_FOLDER.fullmatch(part)]
        name = folders[-1] if folders else re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    name = str(name)
    # Results are written to <output_dir>/<case>: a name must not lead anywhere else, nor fail after hours of computing.
    problem = name_problem(name)
    if problem is not None:
        origin = "" if case.get("case") is not None else f", image {fspath(case[SERIES_KEY])!r}"
        raise CaseError(f"case {name!r}{origin}: expected a name that can be a folder's name, got {problem}")
    return name


def load_case(case: Mapping[str, Any], times: Stated | None = None) -> dict[str, Any]:
    """Read every file that a case names, and check it.

    Args:
        case: `image` (path of the 4D series) and, each optional, `cbf`, `cbv`, `mtt`, `tmax`, `dwi`, `label` (paths of
            3D volumes), `case` (its name), `subject`, `orientation` (three letters such as "RAS": where the voxel axes
            point to, for files whose headers do not tell), `times` (the times of the frames in s, or the path of a file
            with them) or `dt_s` (the time between frames in s). A key whose value is None counts as absent.
        times: frame times that take precedence over those of the case, its sidecar and its header: the time between
            frames in s, the time of every frame in s, or the path of a file, see `scripts.io.frame_times`.

    Returns:
        A dictionary with `case` (name), `image` (float32, (H, W, D, T), HU, Fortran order), `affine` ((4, 4) float64,
        of the series), `frame_times` (a `FrameTimes`, or None where nothing states them, or states what no scan can
        have), each given volume under its key ((H, W, D), float32; `label` uint8, 0 and 1), `warnings` (a list of
        `QualityWarning` about headers and frame times), and `subject` if given.

    Raises:
        FileNotFoundError: a named file is not there.
        CaseError: a file cannot be read; the series is not 4D, has fewer than MIN_FRAMES frames or is constant; a
            volume is not 3D or not on the series' grid; a header is refused (`scripts.io.gate.HEADER_CHECKS`); values
            are not finite; the label is not 0 and 1; the frame times, or those of the slices, do not fit.
    """
    for problem in _header_problems(case):
        raise problem
    name, orientation = case_name(case), case.get("orientation")
    series = read_nifti(case[SERIES_KEY], case=name, key=SERIES_KEY)
    array = series.array.reshape(_canonical_shape(series.array.shape, 4))
    frame_times, of_times = find_frame_times(
        case, series.header, array.shape[3], name=name, option=times, n_slices=array.shape[2]
    )
    affine = oriented_affine(series.header, orientation)
    if frame_times is not None and frame_times.slice_offsets_s is not None:
        _check_slice_axis(name, case[SERIES_KEY], affine)
    loaded: dict[str, Any] = {
        "case": name,
        SERIES_KEY: array,
        "affine": affine,
        "frame_times": frame_times,
        "warnings": [*header_findings(series.header, orientation), *of_times],
    }
    _check_series_values(name, case[SERIES_KEY], loaded[SERIES_KEY])
    for key in VOLUME_KEYS:
        if case.get(key) is not None:
            array = read_nifti(case[key], case=name, key=key).array
            array = array.reshape(_canonical_shape(array.shape, 3))
            _finite_range(name, key, case[key], array)
            loaded[key] = _binary(name, case[key], array) if key == LABEL_KEY else array
    if case.get("subject") is not None:
        loaded["subject"] = case["subject"]
    return loaded


def check_headers(cases: Iterable[Mapping[str, Any]]) -> None:
    """Check existence, dimensions, frames, grids and plausibility of many cases from the headers alone.

    Raises:
        DatasetError: something is wrong; every problem of every case is listed.
    """
    problems = [problem for case in cases for problem in _header_problems(case)]
    if problems:
        raise DatasetError(problems)


def _header_problems(case: Mapping[str, Any]) -> Iterator[CaseError | FileNotFoundError]:
    """Yield what the headers of a case's files show to be wrong, the series first."""
    try:
        name = case_name(case)
    except CaseError as error:
        yield error
        return
    if case.get(SERIES_KEY) is None:
        yield CaseError.of(name, SERIES_KEY, None, "the path of a 4D series", f"a case with the keys {sorted(case)}")
        return
    reference: _Grid | None = None
    for key in FILE_KEYS:
        if case.get(key) is None:
            continue
        try:
            grid = _read_grid(name, key, case[key], case.get("orientation"))
            if key == SERIES_KEY:
                reference = grid
                check_stated_times(case, grid.frames, name=name)
            elif reference is not None:
                _check_grid(name, key, case[key], grid, reference)
        except (CaseError, FileNotFoundError) as error:
            yield error


def _read_grid(case: str, key: str, path: Any, orientation: str | None) -> _Grid:
    """The spatial shape and the affine of a file, whose dimensions and header are checked."""
    if not isinstance(path, (str, PathLike)):
        raise CaseError.of(case, key, None, "the path of a file", f"a {type(path).__name__}")
    image = open_nifti(path, case=case, key=key)
    ndim, what = (4, "a 4D series (H, W, D, T)") if key == SERIES_KEY else (3, "a 3D volume (H, W, D)")
    shape = _canonical_shape(image.shape, ndim)
    if len(shape) != ndim:
        raise CaseError.of(case, key, path, what, f"{len(image.shape)}D {tuple(image.shape)}")
    if key == SERIES_KEY and shape[3] < MIN_FRAMES:
        raise CaseError.of(case, key, path, f"at least {MIN_FRAMES} frames", f"{shape[3]} in a series {shape}")
    if key == SERIES_KEY and sorted(shape[:3])[1] < MIN_PIXELS:
        raise CaseError.of(case, key, path, f"slices of at least {MIN_PIXELS} x {MIN_PIXELS} pixels", f"{shape[:3]}")
    try:
        refused = fatal_text(header_findings(image.header, orientation))
        affine = oriented_affine(image.header, orientation)
    except ValueError as error:
        raise CaseError.of(case, key, path, "an orientation that fits the header", str(error)) from error
    if refused:
        raise CaseError.of(case, key, path, "a header that can be true (docs/how-to/checks.md)", refused)
    return _Grid(shape[:3], affine, shape[3] if key == SERIES_KEY else 1)


def _canonical_shape(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The shape without the singleton axes that some writers add: (H, W, D, 1, T) and trailing ones."""
    if ndim == 4 and len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    while len(shape) > ndim and shape[-1] == 1:
        shape = shape[:-1]
    return (*shape, 1) if ndim == 3 and len(shape) == 2 else shape


def _check_grid(case: str, key: str, path: str | PathLike[str], grid: _Grid, reference: _Grid) -> None:
    if grid.shape != reference.shape:
        raise CaseError.of(case, key, path, f"the grid {reference.shape} of '{SERIES_KEY}'", f"{grid.shape}")
    shift_mm = grid_shift_mm(grid.affine, reference.affine, grid.shape)
    if shift_mm > GRID_TOLERANCE_MM:
        expected = f"the affine of '{SERIES_KEY}' {reference.affine[:3].tolist()} within {GRID_TOLERANCE_MM} mm"
        raise CaseError.of(case, key, path, expected, f"{grid.affine[:3].tolist()}, up to {shift_mm:.3g} mm away")


def grid_shift_mm(first: NDArray, second: NDArray, shape: tuple[int, ...]) -> float:
    """The largest distance in mm between the places that two affines give to the same voxel of a grid.

    The difference of two affine maps is affine, so it is largest in a corner of the grid.

    Args:
        first: (4, 4) affine.
        second: (4, 4) affine.
        shape: spatial shape of the grid.
    """
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape[:3]], [1], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm(((first - second) @ corners)[:3], axis=0).max())


def _check_slice_axis(case: str, path: str | PathLike[str], affine: NDArray[np.float64]) -> None:
    """Refuse times of slices where the third voxel axis, along which a sidecar lists them, does not count slices."""
    codes = "".join(aff2axcodes(affine))
    if codes[2] not in "SI":
        expected = "the third voxel axis to point to S or I, as the sidecar has times for each place along it"
        got = f"{codes}; store the slices along that axis, or remove these times"
        raise CaseError.of(case, SERIES_KEY, path, expected, got)


def _check_series_values(case: str, path: str | PathLike[str], array: NDArray[np.float32]) -> None:
    low, high = _finite_range(case, SERIES_KEY, path, array)
    if low == high:
        got = "all zeros" if low == 0 else f"{low:g} everywhere"
        raise CaseError.of(case, SERIES_KEY, path, "a series with contrast", got)
    if refused := fatal_text(findings([VALUES], {VALUES.name: max(low, high, key=abs)})):
        raise CaseError.of(case, SERIES_KEY, path, "CT numbers", refused)


def _finite_range(case: str, key: str, path: str | PathLike[str], array: NDArray[np.float32]) -> tuple[float, float]:
    """The least and the greatest value; both are passes without a temporary array, and both carry NaN along."""
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        count = array.size - int(np.count_nonzero(np.isfinite(array)))
        raise CaseError.of(case, key, path, "finite values", f"{count} NaN or infinite of {array.size}")
    return low, high


def _binary(case: str, path: str | PathLike[str], array: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The label as uint8; a tolerance of 1e-4 leaves room for the float32 scaling of the file."""
    rounded = np.rint(array)
    wrong = (np.abs(array - rounded) > 1e-4) | (rounded < 0) | (rounded > 1)
    if wrong.any():
        values = np.unique(array[wrong])
        listed = ", ".join(f"{value:g}" for value in values[:5]) + (", …" if values.size > 5 else "")
        raise CaseError.of(case, LABEL_KEY, path, "only 0 and 1 (1 = lesion)", f"also {listed}")
    return rounded.astype(np.uint8)
