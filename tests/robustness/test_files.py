"""Damaged NIfTI files, times files and options, through the command that reads a series."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .campaign import EXAMPLES, SILENT, UNTOLD, Base, Verdict, some
from .checkpoints import flipped
from .nifti import HEADER_BYTES, bomb, extension_bomb, forged_trailer, with_field
from .series import generator

Count = Callable[[str, str, Verdict], None]
FIELDS: np.dtype = nib.Nifti1Header.template_dtype
assert FIELDS.names is not None

UNTOLD_FIELDS = {"pixdim"}
"""Fields whose other value no voxel contradicts: the interval, and sizes where the header has them once."""


def field_at(place: int) -> str:
    """The name of the header's field that a byte belongs to."""
    offsets = {name: FIELDS.fields[name][1] for name in FIELDS.names}
    return max((name for name in offsets if offsets[name] <= place), key=lambda name: offsets[name])


def judged(base: Base, content: bytes, field: str) -> Verdict:
    verdict = base.judge(content)
    return verdict._replace(outcome=UNTOLD) if verdict.outcome == SILENT and field in UNTOLD_FIELDS else verdict


@pytest.mark.parametrize("place", some(range(HEADER_BYTES)))
def test_a_damaged_byte_of_a_header(place: int, base: Base, count: Count) -> None:
    mask = int(generator(f"byte {place}").choice([0x01, 0x02, 0x10, 0x55, 0x80, 0xFF]))
    damaged = bytearray(base.bytes)
    damaged[place] ^= mask
    count("header byte", f"{place} ^ {mask:#x}", judged(base, bytes(damaged), field_at(place)))


def values(name: str) -> st.SearchStrategy[object]:
    """Values of one element of a field, the extreme ones often."""
    kind = FIELDS[name].base
    if kind.kind == "S":
        return st.binary(max_size=kind.itemsize)
    if kind.kind == "f":
        extreme = st.sampled_from([0.0, -0.0, 1e-45, 1e-6, 0.5, 1.0, -1.0, 2.0, 1e6, 3e38, -3e38, np.nan, np.inf])
        return extreme | st.floats(width=32)
    limits = np.iinfo(kind)
    extreme_ints = st.sampled_from([limits.min, limits.max, 0, 1, limits.max // 2])
    return extreme_ints | st.integers(int(limits.min), int(limits.max))


@st.composite
def replaced_fields(draw: st.DrawFn) -> dict[str, object]:
    """One or two fields of a header, with an element of each replaced."""
    chosen = draw(st.lists(st.sampled_from(FIELDS.names), min_size=1, max_size=2, unique=True))
    places = {name: draw(st.integers(0, max(int(np.prod(FIELDS[name].shape, dtype=int)) - 1, 0))) for name in chosen}
    return {name: (places[name], draw(values(name))) for name in chosen}


@settings(max_examples=min(EXAMPLES, 150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=replaced_fields())
def test_fields_of_a_header(changes: dict[str, tuple[int, object]], base: Base, count: Count) -> None:
    header = nib.Nifti1Header(base.bytes[:348], check=False)
    fields = {}
    for name, (place, value) in changes.items():
        element = header[name].copy()
        element.reshape(-1)[place] = value
        fields[name] = element
    field = next((name for name in changes if name in UNTOLD_FIELDS), "")
    count("header field", str(changes), judged(base, with_field(base.bytes, **fields), field))


def payload_bytes(content: bytes, name: str, number: int, how: str) -> bytes:
    """The file with so many bytes of its voxels replaced, anywhere or in one place."""
    random = generator(name)
    damaged = np.frombuffer(content, np.uint8).copy()
    if how == "anywhere":
        places = random.integers(HEADER_BYTES, len(content), number)
    else:
        places = random.integers(HEADER_BYTES, len(content) - number) + np.arange(number)
    damaged[places] = 0 if how == "zeros" else random.integers(0, 256, number)
    return damaged.tobytes()


PAYLOADS = [
    (number, how, index)
    for index in range(5)
    for number in (1, 10, 1000, 100_000)
    for how in ("anywhere", "block", "zeros")
]


@pytest.mark.parametrize(("number", "how", "index"), some(PAYLOADS))
def test_damaged_voxels(number: int, how: str, index: int, base: Base, count: Count) -> None:
    name = f"{number} bytes, {how}, {index}"
    count("payload", name, base.judge(payload_bytes(base.bytes, name, number, how)))


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def without_end(content: bytes, index: int) -> bytes:
    return content[: int(generator(f"end {index}").integers(0, len(content)))]


LENGTHS: dict[str, Callable[[bytes], bytes]] = {
    **{f"cut {n}.nii": lambda content, n=n: without_end(content, n) for n in range(12)},
    **{f"without {n} bytes.nii": lambda content, n=n: content[:-n] for n in (1, 4, 4096)},
    **{f"the first {n} bytes.nii": lambda content, n=n: content[:n] for n in (0, 1, 4, 347, 348, 351, 352, 353)},
    **{f"{n} bytes more.nii": lambda content, n=n: content + bytes(n) for n in (1, 1 << 20)},
    **{f"cut {n}.nii.gz": lambda content, n=n: without_end(packed(content), n) for n in range(12)},
    **{
        f"bit {n}.nii.gz": lambda content, n=n: flipped(
            packed(content), int(generator(f"bit {n}").integers(1 << 20)), n % 8
        )
        for n in range(20)
    },
    **{f"byte {n} of gzip.nii.gz": lambda content, n=n: flipped(packed(content), n, n % 8) for n in range(10)},
    **{f"trailer {n}.nii.gz": lambda content, n=n: forged_trailer(content, n) for n in (0, 1, 1 << 31)},
    "twice.nii.gz": lambda content: packed(content) * 2,
    "in parts.nii.gz": lambda content: packed(content[:5000]) + packed(content[5000:]),
    "text behind.nii.gz": lambda content: packed(content) + b"text",
    "unpacked.nii.gz": lambda content: content,
    "packed.nii": packed,
    "packed twice.nii.gz": lambda content: packed(packed(content)),
    "a bomb.nii.gz": lambda content: bomb((512, 512, 64, 40)),
    "an extension.nii.gz": lambda content: extension_bomb(1 << 24),
    **{f"random {n}.nii": lambda content, n=n: generator(f"random {n}").bytes(n) for n in (1, 100, 348, 5000, 10**6)},
    **{f"random {n}.nii.gz": lambda content, n=n: generator(f"gz {n}").bytes(n) for n in (1, 100, 348, 5000)},
    **{
        f"a header and {n}.nii": lambda content, n=n: (
            content[:HEADER_BYTES] + generator(str(n)).bytes(len(content) - 352)
        )
        for n in range(3)
    },
    **{
        f"magic {n}.nii": lambda content, magic=magic: magic + content
        for n, magic in enumerate([b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"\x89HDF\r\n\x1a\n", b"{}", b"n+1\0", b"\x1f\x8b"])
    },
}


@pytest.mark.parametrize("name", some(list(LENGTHS)))
def test_a_file_of_another_length(name: str, base: Base, count: Count) -> None:
    file = "ctp" + name[name.index(".") :]
    count("length and gzip", name, base.judge(LENGTHS[name](base.bytes), file))


def every(dt_s: float, count: int = 43) -> np.ndarray:
    return np.arange(count) * dt_s


TIMES: dict[str, bytes] = {
    name: " ".join(map(str, times)).encode() if not isinstance(times, bytes) else times
    for name, times in {
        "as they are": every(1.5),
        "one too few": every(1.5, 42),
        "one too many": every(1.5, 44),
        "none": b"",
        "a gap of 20 s": every(1.5) + 20 * (np.arange(43) > 20),
        "a gap of 1e9 s": every(1.5) + 1e9 * (np.arange(43) > 20),
        "a gap of 1e300 s": every(1.5) + 1e300 * (np.arange(43) > 20),
        "one NaN": np.where(np.arange(43) == 9, np.nan, every(1.5)),
        "one infinite": np.where(np.arange(43) == 42, np.inf, every(1.5)),
        "two swapped": np.concatenate([every(1.5)[:10], [16.5, 15.0], every(1.5)[12:]]),
        "backward": every(1.5)[::-1],
        "all alike": np.zeros(43),
        "one twice": np.where(np.arange(43) == 9, 12.0, every(1.5)),
        "nearly twice": np.where(np.arange(43) == 9, 12.0000001, every(1.5)),
        "ms": every(1500.0),
        "minutes": every(1.5 / 60),
        "negative": every(-1.5),
        "late": every(1.5) + 1e6,
        "early": every(1.5) - 1e6,
        "text": b"the times of the frames",
        "binary": bytes(range(256)),
        "UTF-16": "0 1 2".encode("utf-16"),
        "many": b"1 " * 200_000,
        "digits": b"9" * 5000,
        "a table": b"frame;time\n0;0\n1;1\n",
        "hexadecimal": b"0x0 0x1",
        "a null": b"0 1 2 \0 4",
    }.items()
}
OPTIONS = ["abc", "nan", "inf", "-1", "0", "1e-300", "1e300", "", " ", "1,5", "0x10", "1e5000", "\x00", "a" * 5000, "/"]


@pytest.mark.parametrize("name", some(list(TIMES)))
def test_a_file_of_times(name: str, base: Base, count: Count, tmp_path: Path) -> None:
    path = tmp_path / "times.txt"
    path.write_bytes(TIMES[name])
    count("times", name, base.judge(base.bytes, options=("--times", str(path))))


@pytest.mark.parametrize("option", some(["--times", "--aif", "--brain"], max(EXAMPLES // 2, 1)))
@pytest.mark.parametrize("value", some(OPTIONS, max(EXAMPLES // 2, 1)))
def test_an_option(option: str, value: str, base: Base, count: Count) -> None:
    count("option", f"{option} {value[:20]!r}", base.judge(base.bytes, options=(option, value)))
