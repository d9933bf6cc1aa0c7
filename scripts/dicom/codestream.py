"""The size that a compressed image states itself, so that a wrong one is not decoded."""

from __future__ import annotations

_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}  # 0xF7: JPEG-LS
_J2K_SIZE = b"\xff\x4f\xff\x51"


def codestream_size(content: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it states none, as RLE."""
    at = content[:4096].find(_J2K_SIZE)
    if at >= 0:
        width, height, left, top = (int.from_bytes(content[at + 8 + i : at + 12 + i], "big") for i in (0, 4, 8, 12))
        return height - top, width - left
    if content[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        if content[at + 1] in _JPEG_FRAMES:
            return int.from_bytes(content[at + 5 : at + 7], "big"), int.from_bytes(content[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None
