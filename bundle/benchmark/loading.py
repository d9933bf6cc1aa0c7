"""A series of 256 x 256 x 8 voxels and 49 frames, from its file into a float32 array.

The floor is to read the file's bytes into memory, to inflate them where they are packed, and to convert them where they
are not float32 already. MONAI's `LoadImage` stands beside it; array and affine are to be the same as MONAI's.
"""

import gzip
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from monai.transforms import LoadImage
from numpy.typing import NDArray

from scripts.io import write_nifti
from scripts.io.nifti import read_nifti

from .deconvolution import INTERVAL_S, simulated_case
from .measurement import TIMES_THE_FLOOR, Figure, Found, Measurement, Scaling, Settings
from .timing import Timing, alternate

HELP = "reading a series against reading and inflating its bytes, and MONAI's reader"

OURS, MONAI, FLOOR = "ours", "MONAI's LoadImage", "floor"
LIMIT = 1.2
TIMES_FASTER_THAN_MONAI = "times faster than MONAI's"
HEADER_BYTES = 352
"""Of a NIfTI-1 file without extensions, as the bundle writes it."""


def measure(settings: Settings) -> Found:
    """Both types and both endings, and how time and memory grow with the frames."""
    case = simulated_case(64 if settings.quick else 256)
    series = np.rint(case.series.hu.transpose(1, 2, 3, 0)).astype(np.float32)  # (H, W, D, T), in whole HU as CTs are
    rows: list[Measurement] = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "int16"):
            for ending in (".nii", ".nii.gz"):
                path = Path(folder) / f"{dtype}{ending}"
                write_nifti(path, series, case.grid.affine, dtype=dtype, dt_s=INTERVAL_S)
                rows += _rows(path, dtype, series.size, settings)
        scaling = _scaling(Path(folder), series, case.grid.affine, settings)
    return Found(rows, [scaling])


def _rows(path: Path, dtype: str, n_voxels: int, settings: Settings) -> list[Measurement]:
    load = LoadImage(image_only=True)
    runs: dict[str, Callable[[], object]] = {
        OURS: partial(read_nifti, path, case="series", key="image"),
        MONAI: partial(load, path),
        FLOOR: partial(_read, path, dtype),
    }
    timings = alternate(runs, settings.repeats)
    found, expected = read_nifti(path, case="series", key="image"), load(path)
    differences = [
        np.abs(found.array - expected.numpy()).max(),
        np.abs(found.affine - expected.affine.numpy()).max(),
    ]
    rows = []
    for name, timing in timings.items():
        figures = {"memory in arrays of the result": Figure(_peak_bytes(runs[name]) / (4 * n_voxels))}
        if name != FLOOR:
            ratio = timing.median_ms / timings[FLOOR].median_ms
            figures[TIMES_THE_FLOOR] = Figure(ratio, LIMIT if name == OURS else None)
        if name == OURS:
            figures[TIMES_FASTER_THAN_MONAI] = Figure(timings[MONAI].median_ms / timing.median_ms, None, True)
            figures["largest difference from MONAI's"] = Figure(float(max(differences)), 0.0, unit="")
        rows.append(Measurement(f"{dtype}{''.join(path.suffixes)}: {name}", timing, figures))
    return rows


def _read(path: Path, dtype: str) -> NDArray:
    """The voxels as a float32 array without a shape."""
    if path.suffix == ".gz":
        content = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
    else:
        content = np.fromfile(path, np.uint8)
    return content[HEADER_BYTES:].view(dtype).astype(np.float32, copy=False)


def _peak_bytes(function: Callable[[], object]) -> int:
    """Most memory that Python and NumPy held at a time, which hold all of it here."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _scaling(folder: Path, series: NDArray, affine: NDArray, settings: Settings) -> Scaling:
    """With the frames of a float32 series that is not packed."""
    n_frames = series.shape[3]
    points = [n_frames // 2, n_frames] if settings.quick else [n_frames // 4, n_frames // 2, n_frames, 2 * n_frames]
    frames = np.concatenate([series, series], axis=3)
    time_ms: dict[str, list[float]] = {OURS: [], MONAI: []}
    memory_mib: dict[str, list[float]] = {OURS: [], MONAI: []}
    for count in points:
        path = folder / f"{count}.nii"
        write_nifti(path, frames[..., :count], affine, dt_s=INTERVAL_S)
        runs: dict[str, Callable[[], object]] = {
            OURS: partial(read_nifti, path, case="series", key="image"),
            MONAI: partial(LoadImage(image_only=True), path),
        }
        timings: dict[str, Timing] = alternate(runs, min(settings.repeats, 3))
        for name, run in runs.items():
            time_ms[name].append(timings[name].median_ms)
            memory_mib[name].append(_peak_bytes(run) / 2**20)
    return Scaling("frames of a series", points, time_ms, memory_mib)
