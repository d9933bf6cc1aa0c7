"""A hundred malformed inputs: each one clear error, in bounded memory."""

from __future__ import annotations

import io
import os
import resource
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless, generate_uid

from scripts.dicom import archive, detect, files, headers
from scripts.dicom.read import read_study
from scripts.io.errors import CaseError
from tests.dicom import vendors

SCAN = vendors.scan(columns=34, rows=34, slices=2, frames=12)
MOST_BYTES = 64 << 20
Change = Callable[[Dataset], object]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vendors.write(tmp_path_factory.mktemp("study"), vendors.datasets(SCAN, vendors.siemens(SCAN)))


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    for file in study.iterdir():
        os.link(file, tmp_path / file.name)
    return tmp_path


def replace(file: Path, content: bytes) -> None:
    file.unlink()  # the original has the same inode
    file.write_bytes(content)


def refused(path: Path, match: str | None = None) -> str:
    """The one line that reading fails with, in bounded memory."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises((CaseError, FileNotFoundError), match=match) as caught:
                read_study(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1000
    assert not any(value in text for value in vendors.PATIENT.values() if len(value) > 1)
    return text


def one(folder: Path, change: Change) -> Path:
    """Change one instance, and write it over its file."""
    file = sorted(folder.iterdir())[5]
    data = dcmread(file)
    change(data)
    file.unlink()
    dcmwrite(file, data)
    return file


def without(keyword: str) -> Change:
    return lambda data: data.__delitem__(keyword)


def value(keyword: str, content: object) -> Change:
    return lambda data: setattr(data, keyword, content)


def raw(keyword: str, vr: str, content: bytes) -> Change:
    """Another value representation, with bytes that may not fit it."""

    def change(data: Dataset) -> None:
        from pydicom.dataelem import RawDataElement

        tag = data[keyword].tag
        data._dict[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True)

    return change


def compressed(syntax: str) -> Change:
    """Noise in place of a codestream."""

    def change(data: Dataset) -> None:
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = encapsulate([np.random.default_rng(0).bytes(600)])
        data["PixelData"].VR = "OB"

    return change


REQUIRED = """ImagePositionPatient ImageOrientationPatient PixelSpacing Rows Columns BitsAllocated BitsStored
PixelRepresentation RescaleSlope RescaleIntercept""".split()  # noqa: SIM905
IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
CHANGES: dict[str, Change] = {
    **{f"no {keyword}": without(keyword) for keyword in (*REQUIRED, *IDENTIFIERS)},
    **{f"empty {keyword}": value(keyword, None) for keyword in REQUIRED},
    **{f"{keyword} as text": raw(keyword, "LO", b"a\\b ") for keyword in REQUIRED},
    **{f"{keyword} as bytes": raw(keyword, "UN", b"\xff\xfe\xfd") for keyword in REQUIRED},
    **{f"{keyword} not finite": raw(keyword, "DS", b"nan ") for keyword in ("RescaleSlope", "RescaleIntercept")},
    "another matrix": lambda d: (
        vendors.set_pixels(d, np.zeros((20, 34)), bits=12, signed=False, intercept=-1024),
        value("Rows", 20)(d),
    ),
    "another spacing": value("PixelSpacing", [1.5, 2.0]),
    "negative spacing": value("PixelSpacing", [-1.5, 2.25]),
    "another orientation": value("ImageOrientationPatient", [0, 1, 0, 1, 0, 0]),
    "no rotation": value("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
    "huge matrix": lambda d: (value("Rows", 65535)(d), value("Columns", 65535)(d)),
    "eight bits": lambda d: (value("BitsAllocated", 8)(d), value("BitsStored", 8)(d), value("HighBit", 7)(d)),
    "more bits than there are": value("BitsStored", 17),
    "high bit": value("HighBit", 40),
    "no pixels": without("PixelData"),
    "few pixels": lambda d: setattr(d, "PixelData", d.PixelData[:-200]),
    "frames in a classic image": value("NumberOfFrames", 3),
    "a slice between the others": value("ImagePositionPatient", [-50.0, -71.5, 13.5]),
    "a slice aside": value("ImagePositionPatient", [-40.0, -71.5, 12.25]),
    "far away": value("ImagePositionPatient", [-50.0, -71.5, 1e7]),
    "HU beyond 16 bits": value("RescaleSlope", 1000),
    "an identifier of another": lambda d: setattr(
        d, "SOPInstanceUID", generate_uid(entropy_srcs=["classic", "0", "0", str(SCAN.hu.shape)])
    ),
    "an unknown transfer syntax": lambda d: setattr(d.file_meta, "TransferSyntaxUID", "1.2.3.4"),
    **{
        f"junk as {syntax.name}": compressed(syntax)
        for syntax in (JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1, RLELossless)
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_bad_instance(copy: Path, name: str) -> None:
    file = one(copy, CHANGES[name])
    text = refused(copy)
    assert file.name in text or name in ("an identifier of another",)


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.99])
def test_a_file_that_is_cut_off(copy: Path, fraction: float) -> None:
    file = sorted(copy.iterdir())[5]
    content = file.read_bytes()
    replace(file, content[: int(fraction * len(content))])
    text = refused(copy)
    assert file.name in text or "24" in text or "missing" in text or "12 images" in text


def test_a_missing_instance_and_a_missing_slice(copy: Path) -> None:
    sorted(copy.iterdir())[5].unlink()
    refused(copy, "at least 12 images of each slice, got 11")


@pytest.mark.parametrize("gone", [(4, 1), (9, 0)])
def test_a_frame_that_is_missing_in_the_middle_is_noticed(tmp_path: Path, gone: tuple[int, int]) -> None:
    scan = vendors.scan(slices=3, frames=16)
    data = [d for d in vendors.datasets(scan, vendors.siemens(scan)) if d.InstanceNumber != gone[0] * 3 + gone[1] + 1]
    refused(vendors.write(tmp_path, data), "as often as of the others, got one or more missing near this one")


def test_a_missing_slice_names_the_next_one(tmp_path: Path) -> None:
    scan = vendors.scan(slices=5)
    data = [d for d in vendors.datasets(scan, vendors.siemens(scan)) if (d.InstanceNumber - 1) % 5 != 2]
    refused(
        vendors.write(tmp_path, data), r"IM\d+.*SOP Instance UID.*equal distances.*got 10 mm; a slice may be missing"
    )


def test_a_doubled_image_names_both(copy: Path) -> None:
    file = sorted(copy.iterdir())[5]
    data = dcmread(file)
    data.SOPInstanceUID = generate_uid()
    dcmwrite(copy / "twice", data)
    text = refused(copy, "one image of a slice at a time, got the AcquisitionDateTime of")
    assert file.name in text
    assert "twice" in text


def test_a_copy_of_an_image_is_left_out(copy: Path) -> None:
    (copy / "copies").mkdir()
    for file in [file for file in copy.iterdir() if file.is_file()][:4]:
        os.link(file, copy / "copies" / file.name)
    np.testing.assert_array_equal(read_study(copy).hu, SCAN.hu)


TIME_TAGS = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime", "AcquisitionDate")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d, i, f: [delattr(d, tag) for tag in TIME_TAGS], "got no attribute of times; give --dt-s"),
        (lambda d, i, f: [setattr(d, tag, None) for tag in TIME_TAGS], "got no attribute of times; give --dt-s"),
        (lambda d, i, f: [raw(tag, "LO", b"99:99 ")(d) for tag in TIME_TAGS[:3]], "no attribute of times; give --dt-s"),
        (
            lambda d, i, f: [delattr(d, "AcquisitionDateTime"), setattr(d, "AcquisitionTime", "101010")],
            "AcquisitionTime is the same for several images of a slice; give --dt-s",
        ),
        (
            lambda d, i, f: [
                delattr(d, "AcquisitionDateTime"),
                setattr(d, "AcquisitionTime", f"10{f:02d}00"),
            ],
            "AcquisitionTime gives frames 60 s apart; give --dt-s",
        ),
        (
            lambda d, i, f: [delattr(d, tag) for tag in TIME_TAGS if f == 3],
            "is missing or cannot be read in 2 of 24 images; ",
        ),
    ],
)
def test_times_are_never_guessed(tmp_path: Path, change, match: str) -> None:
    data = list(vendors.datasets(SCAN, vendors.siemens(SCAN), change))
    refused(vendors.write(tmp_path, data), match)
    np.testing.assert_allclose(read_study(tmp_path, dt_s=2.0).times_s, np.tile(np.arange(12) * 2.0, (2, 1)))
    np.testing.assert_array_equal(read_study(tmp_path, dt_s=2.0).hu, SCAN.hu)


def bomb(name: str, **size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            target.writestr(name, bytes(size.get("zeros", 10)))

    return write


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:/x", "\\\\host\\x", "a\\..\\x"])
def test_an_archive_whose_names_lead_out(tmp_path: Path, name: str) -> None:
    bomb(name)(tmp_path / "a.zip")
    refused(tmp_path / "a.zip", "members with relative names")
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_SMALL_BYTES", 1 << 20)
    bomb("x", zeros=4 << 20)(tmp_path / "a.zip")
    refused(tmp_path / "a.zip", "unpacks to at most .* 200 times its size")


def test_an_encrypted_a_broken_and_an_empty_archive(tmp_path: Path, study: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as target:
        for file in study.iterdir():
            target.write(file, file.name)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    damaged = bytearray(content)
    damaged[2000:2200] = bytes(200)
    for name, changed in (("damaged", damaged), ("cut", content[: len(content) // 2])):
        (tmp_path / f"{name}.zip").write_bytes(changed)
        refused(tmp_path / f"{name}.zip")
    at = content.find(b"PK\x01\x02")
    content[at + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    refused(tmp_path / "locked.zip", "an archive without a password")
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    refused(tmp_path / "empty.zip", "got no DICOM file")


def test_a_folder_without_dicom_and_one_with_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path / "nothing", "got nothing there")
    for number in range(40):
        (tmp_path / f"{number}").write_bytes(b"x" * number)
    refused(tmp_path, "a study with DICOM images, got no DICOM file")
    for module in (files, archive, detect):
        monkeypatch.setattr(module, "MOST_FILES", 30)
    refused(tmp_path, "a study of at most 30 files")


def test_a_directory_that_leads_out_or_lists_what_is_not_there(tmp_path: Path) -> None:
    for components, match in (
        (["..", "x"], "names of files in its folder"),
        (["IMAGES", "X1"], "the file 'IMAGES/X1'"),
    ):
        data, record = Dataset(), Dataset()
        data.file_meta = vendors.classic(SCAN, 0, 0).file_meta
        record.ReferencedFileID = components
        data.DirectoryRecordSequence = Sequence([record])
        dcmwrite(tmp_path / "DICOMDIR", data, enforce_file_format=True)
        refused(tmp_path / "DICOMDIR", match)


def nested(depth: int) -> bytes:
    """Sequences within sequences, of undefined length."""
    start = struct.pack("<HH2sHI", 0x5200, 0x9229, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return start * depth


@pytest.mark.parametrize("depth", [60, 100_000])
def test_sequences_within_sequences(copy: Path, depth: int) -> None:
    file = sorted(copy.iterdir())[5]
    content = file.read_bytes()
    at = content.find(b"\xe0\x7f\x10\x00OW")
    replace(file, content[:at] + nested(depth) + content[at:])
    assert file.name in refused(copy)


def test_deflated_data_that_unpacks_to_too_much(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_MOST_DEFLATED_BYTES", 8 << 20)
    file = sorted(copy.iterdir())[5]
    data = dcmread(file)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    buffer = io.BytesIO()
    dcmwrite(buffer, data, enforce_file_format=True)
    content = buffer.getvalue()
    replace(file, content)
    np.testing.assert_array_equal(read_study(copy).hu, SCAN.hu)  # a deflated file as such is read
    group_length = struct.unpack("<I", content[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    replace(file, content[: 144 + group_length] + packer.compress(bytes(200 << 20)) + packer.flush())
    refused(copy, "deflated data of more than")


def test_an_element_that_claims_four_gigabytes(copy: Path) -> None:
    file = sorted(copy.iterdir())[5]
    content = file.read_bytes()
    at = content.find(b"\x28\x00\x30\x00DS")
    huge = struct.pack("<HH2sHI", 0x0028, 0x0030, b"UN", 0, 0xFFFFFFF0)
    replace(file, content[:at] + huge + content[at + 8 :])
    assert file.name in refused(copy)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: delattr(d, "PerFrameFunctionalGroupsSequence"), "functional groups of 24 frames, got 0"),
        (lambda d: delattr(d, "SharedFunctionalGroupsSequence"), "SharedFunctionalGroupsSequence with an item"),
        (value("NumberOfFrames", 25), "functional groups of 25 frames, got 24"),
        (value("NumberOfFrames", 0), "NumberOfFrames from 1"),
        (value("NumberOfFrames", 2_000_000_000), "NumberOfFrames from 1"),
        (lambda d: setattr(d, "PixelData", d.PixelData[: len(d.PixelData) // 2]), "frame 13.*bytes of pixels, got 0"),
        (raw("PerFrameFunctionalGroupsSequence", "SQ", b"\x01" * 99), "functional groups|that can be read"),
        (
            lambda d: delattr(d.PerFrameFunctionalGroupsSequence[7], "PlanePositionSequence"),
            "frame 8: expected the functional group PlanePositionSequence",
        ),
        (
            lambda d: delattr(d.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0], "RescaleSlope"),
            "RescaleSlope with a number, got none",
        ),
    ],
)
def test_a_bad_multi_frame_object(tmp_path: Path, change: Change, match: str) -> None:
    data = vendors.enhanced(SCAN)
    change(data)
    dcmwrite(tmp_path / "x.dcm", data)
    refused(tmp_path, match)


def test_a_compressed_image_of_another_size(copy: Path) -> None:
    def change(data: Dataset) -> None:
        data.compress(JPEG2000Lossless)
        content = bytearray(data.PixelData)
        at = content.find(b"\xff\x4f\xff\x51")
        content[at + 8 : at + 16] = struct.pack(">II", 60_000, 60_000)
        data.PixelData = bytes(content)

    assert "34 x 34 compressed pixels, got (60000, 60000)" in refused(one(copy, change).parent)


@given(st.binary(min_size=1, max_size=40), st.integers(0, 100))
@settings(max_examples=40)
def test_any_bytes_anywhere_in_a_header(
    study: Path, tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    """A header with bytes changed is refused in a line, or read: times and the like may still be right."""
    folder = tmp_path_factory.mktemp("noise")
    for file in study.iterdir():
        os.link(file, folder / file.name)
    file = sorted(folder.iterdir())[5]
    content = bytearray(file.read_bytes())
    start = 132 + at * (len(content) - 34 * 34 * 2 - 132) // 100
    content[start : start + len(noise)] = noise
    replace(file, bytes(content))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read_study(folder)
        except (CaseError, FileNotFoundError) as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_study_with_many_objects_is_read_in_bounded_memory(study: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_study(study)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_BYTES >> 10
