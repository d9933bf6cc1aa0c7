"""Hostile archives of the bundle and damaged manifests."""

from __future__ import annotations

import io
import zipfile

from bundle.package import BUNDLE_NAME

MANIFESTS = {
    "empty": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"version": "\xff"}',
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "nothing in it": b"{}",
    "files in a list": b'{"version": "1", "sha256": "0", "files": []}',
    "digests in lists": b'{"version": "1", "sha256": "0", "files": {"LICENSE": ["0"]}}',
    "no version": b'{"sha256": "0", "files": {}}',
    "a number for a hash": b'{"version": "1", "sha256": 0, "files": {}}',
}
"""Manifests that are none, by what is wrong with them."""


def archive(content: bytes = b"text", method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of one file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as opened:
        opened.writestr(f"{BUNDLE_NAME}/LICENSE", content)
    return stream.getvalue()


def hostile() -> dict[str, bytes]:
    """Archives that are damaged or unpack to too much, by what is wrong with them."""
    good = archive()
    central = good.index(b"PK\1\2")
    return {
        "empty": b"",
        "text": b"<html>404</html>",
        "half": good[: len(good) // 2],
        "a bomb": archive(bytes(64 << 20), zipfile.ZIP_DEFLATED),
        "a bomb of lzma": archive(bytes(8 << 20), zipfile.ZIP_LZMA),
        "a method that nobody knows": good[: central + 10] + b"\x63\0" + good[central + 12 :],
        "encrypted": good[: central + 8] + b"\1\0" + good[central + 10 :],
        "a size that is not there": good[: central + 24] + b"\xff\xff\xff\x7f" + good[central + 28 :],
        "a directory elsewhere": good[:175] + bytes([good[175] ^ 0x80]) + good[176:],
        "another CRC": good[: central + 16] + b"\0\0\0\0" + good[central + 20 :],
    }
