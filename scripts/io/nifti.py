"""Reading and writing NIfTI files: one pass, errors that name the case, atomic and reproducible writing."""

import gzip
import io
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike, NDArray

from .atomic import atomic_path
from .errors import CaseError

PLAUSIBLE_INTERVAL_S = (0.2, 15.0)
"""ISLES 2018 has 1 to 2 s; other protocols go from half a second to some seconds in the late phase."""

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
MAX_VOLUME_BYTES = 20 << 30
"""The largest series or volume that is read, in bytes as float32.

A series of the widest CT detector there is, 512 x 512 x 320 voxels at 60 times, is 18.75 GiB.
"""

MAX_PACKED_RATIO = 200
"""How many times its own size a gzip file may unpack to, where that is more than 256 MiB (a choice).

Of a series with its background set to 0, a twentieth of the voxels is brain, whose noise takes some 6 of 16 bits: it
shrinks by 50. Stored as float64 it shrinks by 200.
"""

_SMALL_BYTES = 256 << 20
_MAX_HEADER_BYTES = 1 << 20  # the header with its extensions, which take kilobytes
_HEADER_BYTES = {348: 352, 540: 544}  # NIfTI-1 and NIfTI-2: of the header, and where data may begin
_LARGEST_VOXEL_MM3 = 1e9  # a cubic metre
_DEFLATE_MAX_RATIO = 1032  # what deflate can shrink at most; a header that asks for more lies about its data
_CHUNK_BYTES = 1 << 20
_GZIP = 31  # a window of 32 KB with the header and the trailer of gzip, in zlib's terms
_READABLE = "a readable NIfTI file (.nii or .nii.gz)"


class Volume(NamedTuple):
    """What a NIfTI file holds.

    Attributes:
        array: float32, in the file's axis order and memory layout (Fortran order), scaled by slope and intercept.
        affine: (4, 4) float64, voxel indices to mm (RAS+).
        header: the NIfTI header.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    header: nib.Nifti1Header


def open_nifti(path: str | PathLike[str], *, case: str, key: str) -> nib.Nifti1Image:
    """Open a NIfTI file and check its header and its length, without reading the data.

    Args:
        path: the file.
        case: name of the case, for the messages.
        key: key of the file in the case dictionary, for the messages.

    Returns:
        The nibabel image; its `dataobj` is still on disk.

    Raises:
        FileNotFoundError: the file is not there.
        CaseError: it is no NIfTI file, is shorter than its header says, or has no usable affine.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"case '{case}', {key} '{file}': expected a file, got {_what_is_at(file)}")
    try:
        image = _load(file)
        _check_length(file, image)
    except Exception as error:  # what a hostile header leads its reader to has no bound
        raise CaseError.of(case, key, file, _READABLE, _reason(error)) from error
    if image.get_data_dtype().kind not in "iuf":
        raise CaseError.of(case, key, file, "real numbers", f"data type {image.get_data_dtype()}")
    affine = image.affine
    with np.errstate(all="ignore"):
        voxel_mm3 = abs(np.linalg.det(affine[:3, :3]))
    if not np.isfinite(affine).all() or not 1e-9 <= voxel_mm3 <= _LARGEST_VOXEL_MM3:
        raise CaseError.of(case, key, file, "an invertible affine", f"{affine[:3].tolist()}")
    return image


def read_nifti(path: str | PathLike[str], *, case: str, key: str) -> Volume:
    """Read a NIfTI file as float32 in one pass.

    The array keeps the Fortran order of the file, so that a (T, H, W, D) view of a 4D series is free; no memory map is
    kept open.

    Args:
        path: a .nii or .nii.gz file.
        case: name of the case, for the messages.
        key: key of the file in the case dictionary, for the messages.

    Returns:
        The array, the affine and the header.

    Raises:
        FileNotFoundError: the file is not there.
        CaseError: it is truncated, corrupt, or no NIfTI file.
    """
    image = open_nifti(path, case=case, key=key)
    try:
        array = _read_float32(Path(path), image)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise CaseError.of(case, key, path, _READABLE, _reason(error)) from error
    # In place: nibabel's own scaling would make a second array.
    proxy = _proxy(image)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number then is seen by whoever checks the values
        if proxy.slope != 1:
            array *= np.float32(proxy.slope)
        if proxy.inter != 0:
            array += np.float32(proxy.inter)
    return Volume(array, np.asarray(image.affine, dtype=np.float64), image.header)


def frame_interval_s(header: nib.Nifti1Header) -> float | None:
    """Time between frames in seconds, or None where the header does not state one.

    Many writers set the time and no unit of it. It is then taken for seconds or for milliseconds, whichever makes it
    an interval that CT perfusion can have.
    """
    try:
        unit = header.get_xyzt_units()[1]
    except KeyError:  # a code that the standard does not know
        return None
    interval = float(str(header["pixdim"][4]))  # by its decimals: the float32 1.2 is 1.2000000477 as a float
    if not np.isfinite(interval) or interval <= 0:
        return None
    if unit in _SECONDS:
        return interval * _SECONDS[unit]
    if unit != "unknown":
        return None
    shortest_s, longest_s = PLAUSIBLE_INTERVAL_S
    candidates_s = (interval, interval * _SECONDS["msec"])
    return next((candidate for candidate in candidates_s if shortest_s <= candidate <= longest_s), None)


def write_nifti(
    path: str | PathLike[str],
    array: NDArray,
    affine: NDArray,
    *,
    dtype: DTypeLike | None = None,
    description: str = "",
    dt_s: float | None = None,
) -> None:
    """Write a NIfTI-1 file, atomically, with the same bytes for the same input.

    Args:
        path: where to, ending in .nii or .nii.gz.
        array: the data; (H, W, D) or (H, W, D, T).
        affine: (4, 4), voxel indices to mm (RAS+); written as sform and as qform, which cannot hold a shear.
        dtype: type on disk. Default: uint8 for bool, float32 for floating point, else the array's own. For an integer
            type the values are rounded, never rescaled.
        description: free text of at most 79 bytes.
        dt_s: time between frames in seconds, for a 4D array.

    Raises:
        ValueError: the file name has another ending, or values do not fit into `dtype`.
    """
    target = Path(path)
    if not target.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"path: expected a name ending in .nii or .nii.gz, got '{target}'")
    data = _as_dtype(np.asarray(array), dtype)
    image = nib.Nifti1Image(data, np.asarray(affine, dtype=np.float64))
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(1, 0)
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    if dt_s is not None and data.ndim == 4:
        image.header["pixdim"][4] = dt_s
    with _naming(target), atomic_path(target) as temporary, temporary.open("wb") as stream:
        if target.suffix == ".gz":
            # No name and no time in the gzip header: the same data give the same bytes.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=stream, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(stream)


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Name the file in an error of the system that names none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error


def _as_dtype(array: NDArray, dtype: DTypeLike | None) -> NDArray:
    if dtype is None:
        dtype = {"b": np.uint8, "f": np.float32}.get(array.dtype.kind, array.dtype)
    target: np.dtype[Any] = np.dtype(dtype)
    if target.kind in "iu" and array.dtype.kind not in "b" and array.size:
        limits = np.iinfo(target)
        low, high = array.min(), array.max()
        if not (limits.min <= low and high <= limits.max):
            raise ValueError(f"array: expected values that fit into {target}, got {low} to {high}")
        if array.dtype.kind == "f":
            array = np.rint(array)
    return array.astype(target, copy=False)


def _proxy(image: nib.Nifti1Image) -> ArrayProxy:
    """The reader of the voxels, which keeps the file's offset and scaling; nibabel clears them in the header."""
    return cast(ArrayProxy, image.dataobj)


def _load(file: Path) -> nib.Nifti1Image:
    """The image of a NIfTI file by its header alone, of which no more is read than a header can have."""
    if not file.name.lower().endswith((".nii", ".nii.gz")):
        raise ImageFileError(f"a {type(nib.load(file, mmap=False)).__name__}")
    start = _first_bytes(file, max(_HEADER_BYTES.values()))
    sizes = [int.from_bytes(start[:4], order) for order in ("little", "big")]
    size = next((size for size in sizes if size in _HEADER_BYTES), 0)
    if not size:
        raise ImageFileError("no NIfTI header")
    kind = nib.Nifti1Image if size == 348 else nib.Nifti2Image
    header = kind.header_class(start[:size], check=False)
    offset = float(header["vox_offset"])
    if not _HEADER_BYTES[size] <= offset <= _MAX_HEADER_BYTES:
        raise HeaderDataError(f"vox_offset {offset:g}, which must be from {_HEADER_BYTES[size]} to {_MAX_HEADER_BYTES}")
    return kind.from_stream(io.BytesIO(_first_bytes(file, int(offset))))


def _first_bytes(file: Path, count: int) -> bytes:
    with gzip.open(file) if _is_gzip(file) else file.open("rb") as stream:
        return stream.read(count)


def _read_float32(file: Path, image: nib.Nifti1Image) -> NDArray[np.float32]:
    """The unscaled voxels, converted piece by piece.

    Unlike nibabel this reads a gzip file to its end, where its checksum is.
    """
    array = np.empty(image.shape, dtype=np.float32, order="F")
    values = array.reshape(-1, order="F")
    dtype = image.get_data_dtype()
    skip, filled, rest = int(_proxy(image).offset), 0, b""
    for chunk in _unpacked(file) if _is_gzip(file) else _pieces(file):
        skipped = min(skip, len(chunk))
        skip -= skipped
        if filled < len(values):
            piece = rest + chunk[skipped:]
            count = min(len(piece) // dtype.itemsize, len(values) - filled)
            values[filled : filled + count] = np.frombuffer(piece, dtype, count)
            filled += count
            rest = piece[count * dtype.itemsize :]
    if filled < len(values):
        raise EOFError(f"{len(values) - filled} of {len(values)} voxels missing")
    return array


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            yield piece


def _unpacked(file: Path) -> Iterator[bytes]:
    """What a gzip file holds, piece by piece, with a look at the checksum of each of its members.

    Python's own reader takes 8 KB of the file at a time before version 3.12, which is half as slow again.

    Raises:
        EOFError: the file ends before a member does.
        zlib.error: it is corrupt.
    """
    with file.open("rb") as stream:
        packed = stream.read(_CHUNK_BYTES)
        while packed:
            member = zlib.decompressobj(wbits=_GZIP)
            while not member.eof:
                if not packed:
                    raise EOFError("a gzip file that ends too early")
                yield member.decompress(packed, _CHUNK_BYTES)
                packed = member.unused_data if member.eof else member.unconsumed_tail or stream.read(_CHUNK_BYTES)
            packed = (packed or stream.read(_CHUNK_BYTES)).lstrip(b"\0")  # members may be padded


def _check_length(file: Path, image: nib.Nifti1Image) -> None:
    """Raise an error, before anything is allocated, for a file that is too short for its header or unpacks to too much.

    Raises:
        EOFError: it holds fewer bytes than its header asks for.
        HeaderDataError: it has no voxels, or more than are read.
    """
    if min(image.shape, default=0) < 1:
        raise HeaderDataError(f"dimensions {image.shape}")
    # Python integers: a hostile header could overflow numpy's.
    voxels = math.prod(map(int, image.shape))
    needed = int(_proxy(image).offset) + voxels * image.get_data_dtype().itemsize
    available = packed = file.stat().st_size
    if _is_gzip(file):
        available *= _DEFLATE_MAX_RATIO
    if available < needed:
        raise EOFError(f"a truncated file of {packed} bytes where its header asks for {needed}")
    unpacked = max(needed, voxels * np.dtype(np.float32).itemsize)
    if unpacked > MAX_VOLUME_BYTES:
        raise HeaderDataError(
            f"{tuple(image.shape)} voxels, {unpacked} bytes, where {MAX_VOLUME_BYTES} are read at most"
        )
    if not _is_gzip(file):
        return
    if unpacked > max(_SMALL_BYTES, packed * MAX_PACKED_RATIO):
        raise HeaderDataError(
            f"{packed} bytes that unpack to {unpacked}, more than {MAX_PACKED_RATIO} times as many; "
            "if that is right, unpack the file first"
        )
    if _last_member_bytes(file) != needed % (1 << 32):
        available = _unpacked_bytes(file, needed)
        if available < needed:
            raise EOFError(f"a truncated file of {available} bytes where its header asks for {needed}")


def _is_gzip(file: Path) -> bool:
    return file.name.lower().endswith(".gz")


def _last_member_bytes(file: Path) -> int:
    """The unpacked length modulo 2^32 that the trailer of a gzip file states: where it fits, the file is whole."""
    with file.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        return int.from_bytes(stream.read(4), "little")


def _unpacked_bytes(file: Path, enough: int) -> int:
    """How many bytes a gzip file unpacks to, counted up to `enough`; what is truncated counts as far as it goes."""
    total = 0
    try:
        for chunk in _unpacked(file):
            total += len(chunk)
            if total >= enough:
                break
    except EOFError:
        pass
    return total


def _what_is_at(file: Path) -> str:
    return "a folder" if file.is_dir() else "nothing there"


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return f"a file that cannot be read ({text})"
