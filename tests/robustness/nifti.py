"""Damaged and hostile NIfTI files."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator

import nibabel as nib
import numpy as np

from tests.conftest import axial_affine, bolus

HEADER_BYTES = 352


def small_series(shape: tuple[int, int, int] = (16, 16, 3), frames: int = 12, seed: int = 0) -> bytes:
    """A series with a bolus, as an unpacked NIfTI file."""
    noise = np.random.default_rng(seed).normal(0, 2, (*shape, frames))
    image = nib.Nifti1Image((35 + noise + 15 * bolus(frames)).astype(np.int16), axial_affine())
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 1.5
    stream = io.BytesIO()
    image.to_stream(stream)
    return stream.getvalue()


def with_field(content: bytes, **fields: object) -> bytes:
    """The file with fields of its header replaced."""
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + content[348:]


def flipped_headers(content: bytes, masks: tuple[int, ...] = (0x01, 0x55, 0x80, 0xFF)) -> Iterator[tuple[str, bytes]]:
    """The file with each byte of its header changed by each mask, one at a time."""
    for place in range(HEADER_BYTES):
        for mask in masks:
            damaged = bytearray(content)
            damaged[place] ^= mask
            yield f"byte {place} ^ {mask:#x}", bytes(damaged)


def forged_trailer(content: bytes, length: int) -> bytes:
    """A gzip file whose trailer states another length of what it holds."""
    return gzip.compress(content, mtime=0)[:-4] + (length % (1 << 32)).to_bytes(4, "little")


def bomb(shape: tuple[int, int, int, int], dtype: type = np.uint8) -> bytes:
    """A gzip file of a series of zeros, made without ever holding the series."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(axial_affine(), 1)
    header["magic"], header["vox_offset"] = b"n+1", HEADER_BYTES
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(header.binaryblock + bytes(4))]
    left, piece = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize, bytes(1 << 20)
    while left:
        parts.append(packer.compress(piece[: min(left, len(piece))]))
        left -= min(left, len(piece))
    return b"".join([*parts, packer.flush()])


def extension_bomb(bytes_: int) -> bytes:
    """A gzip file whose header announces an extension of so many zeros before the voxels."""
    content = with_field(small_series(), vox_offset=HEADER_BYTES + bytes_)
    extension = bytes_.to_bytes(4, "little") + (6).to_bytes(4, "little") + bytes(bytes_ - 8)
    return gzip.compress(content[:348] + b"\1\0\0\0" + extension + content[HEADER_BYTES:])
