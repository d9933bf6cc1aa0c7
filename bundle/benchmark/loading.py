"""A series of 256 x 256 x 8 voxels and 49 frames, from its file into a float32 array.

The floor is to read the file's bytes into memory, to inflate them where they are packed, and to convert them where they
are not float32 already. Array and affine are to be the same as those of MONAI's `LoadImage`.
"""

import gzip
import tempfile
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
from monai.transforms import LoadImage
from numpy.typing import NDArray

from scripts.io import write_nifti
from scripts.io.nifti import read_nifti

from .cases import INTERVAL_S, matrix_of, simulated_case
from .measure import Alternative, Figure, Found, Row, Run, Settings, compared, growth

HELP = "reading a series against reading and inflating its bytes, and MONAI's reader"

OURS, MONAI, FLOOR = "ours", "MONAI's LoadImage", "floor"
HEADER_BYTES = 352
"""Of a NIfTI-1 file without extensions, as the bundle writes it."""


def measure(settings: Settings) -> Found:
    """Both types and both endings, and how time and memory grow with the frames."""
    case = simulated_case(matrix_of(settings))
    series = np.rint(case.series.hu.transpose(1, 2, 3, 0)).astype(np.float32)  # (H, W, D, T), in whole HU as CTs are
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "int16"):
            for ending in (".nii", ".nii.gz"):
                path = Path(folder) / f"{dtype}{ending}"
                write_nifti(path, series, case.grid.affine, dtype=dtype, dt_s=INTERVAL_S)
                rows += _rows(path, dtype, settings)

        def readers(frames: int) -> dict[str, Run]:
            path = Path(folder) / f"{frames}.nii"
            write_nifti(path, series[..., :frames], case.grid.affine, dt_s=INTERVAL_S)
            return _readers(path)

        points = [series.shape[3] // part for part in (4, 2, 1)]
        grown = growth("frames of a series", points, readers, settings)
    return Found(rows, [grown])


def _readers(path: Path) -> dict[str, Run]:
    return {
        OURS: partial(read_nifti, path, case="series", key="image"),
        MONAI: partial(LoadImage(image_only=True), path),
    }


def _rows(path: Path, dtype: str, settings: Settings) -> list[Row]:
    runs = _readers(path)
    ways = {
        OURS: Alternative(runs[OURS], FLOOR, limit=1.2),
        MONAI: Alternative(runs[MONAI], FLOOR),
        FLOOR: Alternative(partial(_read, path, dtype)),
    }
    prefix = f"{dtype}{''.join(path.suffixes)}: "
    first, *rows = compared(ways, settings, plain=MONAI, prefix=prefix, memory_mib=_array_mib)
    found, expected = runs[OURS](), runs[MONAI]()
    same = np.array_equal(found.array, expected) and np.allclose(found.affine, expected.affine)
    figures = {**first.figures, "same values as MONAI's": Figure(float(same), 1.0, True, unit="")}
    return [first._replace(figures=figures), *rows]


def _read(path: Path, dtype: str) -> NDArray:
    """The voxels as a float32 array without a shape."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return np.frombuffer(content, np.uint8)[HEADER_BYTES:].view(dtype).astype(np.float32, copy=False)


def _array_mib(function: Run) -> float:
    """Most memory in MiB that Python and NumPy held at a time, which hold all of it here."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
