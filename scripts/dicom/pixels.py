"""From stored pixels to HU: one image at a time into an array that is there before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..io.nifti import MAX_VOLUME_BYTES
from .codestream import codestream_size
from .errors import DicomError
from .files import StudyFile
from .headers import read_header
from .sample import PixelFormat, Sample

if TYPE_CHECKING:
    from pydicom import Dataset

AIR_HU = -1024
"""What pixels outside of the image become: the lowest number of 12-bit CT."""

_PLAUSIBLE_HU = (-900.0, 3071.0)  # what is padding in a header but could be tissue or bone is left as it is
_NATIVE = {"1.2.840.10008.1.2": 8, "1.2.840.10008.1.2.1": 12, "1.2.840.10008.1.2.2": 12}
"""Transfer syntaxes without compression, and how many bytes stand before the pixels in their element."""

_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_INT16 = np.iinfo(np.int16)


def read_hu(samples: Sequence[Sample], indices: NDArray[np.intp]) -> NDArray[np.int16] | NDArray[np.float32]:
    """Read the images of a series.

    Args:
        samples: the images.
        indices: (slices, frames), which image lies where.

    Returns:
        (columns, rows, slices, frames) HU in Fortran order, as NIfTI has it: int16 if all slopes and intercepts are
        whole numbers, else float32.

    Raises:
        DicomError: pixels are missing, cannot be decoded, or are no HU.
    """
    used = [samples[index] for index in indices.ravel().tolist()]
    whole = all(sample.slope.is_integer() and sample.intercept.is_integer() for sample in used)
    shape = (*indices.T.shape, used[0].pixels.rows, used[0].pixels.columns)
    if 4 * np.prod(shape, dtype=float) > MAX_VOLUME_BYTES:
        raise DicomError.at(used[0].place, f"a series of at most {MAX_VOLUME_BYTES} bytes", f"{shape}")
    hu: NDArray[Any] = np.empty(shape, dtype=np.int16 if whole else np.float32)
    targets = {int(index): place for place, index in np.ndenumerate(indices.T)}
    order = sorted(targets, key=lambda index: (samples[index].file.name, samples[index].frame))
    for _, group in groupby(order, key=lambda index: samples[index].file.name):
        members = list(group)
        images = [samples[index] for index in members]
        for index, sample, stored in zip(members, images, _stored(images), strict=True):
            _rescale(sample, stored, hu[targets[index]])
    return hu.T


def _stored(images: Sequence[Sample]) -> Iterator[NDArray[Any]]:
    """The stored values of frames of one file, (rows, columns) each."""
    first = images[0]
    try:
        if first.pixels.transfer_syntax in _NATIVE:
            with first.file.open() as stream:
                yield from _native(stream, images)
        else:
            yield from _decoded(first.file, images)
    except DicomError:
        raise
    except Exception as error:  # what a damaged codestream leads its decoder to has no bound
        got = f"{type(error).__name__} ({first.pixels.transfer_syntax})"
        raise DicomError.at(first.place, "pixels that can be decoded", got) from error


def _native(stream: BinaryIO, images: Sequence[Sample]) -> Iterator[NDArray[Any]]:
    """Uncompressed frames, read from their places in the file."""
    pixels = images[0].pixels
    start = pixels.offset + _NATIVE[pixels.transfer_syntax]
    size = 2 * pixels.rows * pixels.columns
    big = pixels.transfer_syntax == _BIG_ENDIAN
    stream.seek(pixels.offset)
    element = stream.read(start - pixels.offset)
    if element[:4] != (b"\x7f\xe0\0\x10" if big else b"\xe0\x7f\x10\0"):
        raise DicomError.at(images[0].place, "pixels (7FE0,0010)", "none")
    for sample in images:
        stream.seek(start + size * sample.frame)
        content = stream.read(size)
        if len(content) < size:
            raise DicomError.at(sample.place, f"{size} bytes of pixels", f"{len(content)}; the file is cut off")
        kind = (">" if big else "<") + ("i2" if pixels.signed else "u2")
        yield np.frombuffer(content, dtype=kind).reshape(pixels.rows, pixels.columns)


def _decoded(file: StudyFile, images: Sequence[Sample]) -> Iterator[NDArray[Any]]:
    """Compressed or deflated frames, by the decoders of `pydicom`."""
    from pydicom import dcmread
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    pixels = images[0].pixels
    syntax = UID(pixels.transfer_syntax)
    read_header(file)  # checks how far a deflated file unpacks
    with file.open() as stream:
        data: Dataset = dcmread(stream, force=True)
    if not syntax.is_encapsulated:
        content = data.PixelData
        size = 2 * pixels.rows * pixels.columns
        for sample in images:
            frame = np.frombuffer(content, "<i2" if pixels.signed else "<u2", size // 2, size * sample.frame)
            yield frame.reshape(pixels.rows, pixels.columns)
        return
    decoder = get_decoder(syntax)
    for sample in images:
        size_of = codestream_size(get_frame(data.PixelData, sample.frame, number_of_frames=pixels.n_frames))
        if size_of not in (None, (pixels.rows, pixels.columns)):
            raise DicomError.at(sample.place, f"{pixels.rows} x {pixels.columns} compressed pixels", f"{size_of}")
        yield decoder.as_array(data, index=sample.frame, raw=True)[0]


def _rescale(sample: Sample, stored: NDArray[Any], hu: NDArray[Any]) -> None:
    """Write the HU of stored values: unused bits dropped, rescaled, padding as air."""
    pixels = sample.pixels
    if stored.shape != (pixels.rows, pixels.columns):
        raise DicomError.at(sample.place, f"{pixels.rows} x {pixels.columns} pixels", stored.shape)
    mask = _padding(stored, sample)
    values = _without_unused_bits(stored, pixels)
    low, high = _range(values if mask is None else values[~mask])
    ends = sorted((sample.slope * low + sample.intercept, sample.slope * high + sample.intercept))
    if hu.dtype != np.int16:
        np.add(np.multiply(values, sample.slope, dtype=np.float64), sample.intercept, out=hu, casting="unsafe")
    elif ends[0] < _INT16.min or ends[1] > _INT16.max:
        raise DicomError.at(sample.place, f"HU from {_INT16.min} to {_INT16.max}", f"{ends[0]:g} to {ends[1]:g}")
    elif sample.slope == 1 and high <= _INT16.max and abs(sample.intercept) <= _INT16.max:
        np.add(values.view(np.int16), np.int16(sample.intercept), out=hu)
    else:
        hu[...] = values.astype(np.int64) * int(sample.slope) + int(sample.intercept)
    if mask is not None:
        hu[mask] = AIR_HU


def _range(values: NDArray[Any]) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if values.size else (0, 0)


def _without_unused_bits(stored: NDArray[Any], pixels: PixelFormat) -> NDArray[Any]:
    """The values of the bits that are used, with their sign; older files have overlays in the others."""
    values = stored.astype(np.int16 if pixels.signed else np.uint16, copy=False)  # of a decoder, or big-endian
    low, high = _range(values)
    limit = 1 << (pixels.bits_stored - pixels.signed)
    if pixels.high_bit == pixels.bits_stored - 1 and -limit * pixels.signed <= low and high < limit:
        return values
    above = pixels.bits_allocated - 1 - pixels.high_bit
    return np.right_shift(np.left_shift(values, above), pixels.bits_allocated - pixels.bits_stored)


def _padding(stored: NDArray[Any], sample: Sample) -> NDArray[np.bool_] | None:
    """Where the padding is; None where there is none, or where its HU could be tissue."""
    if sample.pixels.padding is None:
        return None
    signed = sample.pixels.signed
    low, high = sorted(int(np.uint16(end).view(np.int16)) if signed else end for end in sample.pixels.padding)
    if any(_PLAUSIBLE_HU[0] < sample.slope * end + sample.intercept < _PLAUSIBLE_HU[1] for end in (low, high)):
        return None
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None
