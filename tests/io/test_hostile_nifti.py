"""A NIfTI file that lies costs neither memory nor a traceback."""

import contextlib
import errno
import gzip
import tracemalloc
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.io import CaseError, load_case, read_nifti, write_nifti
from scripts.io.nifti import MAX_PACKED_RATIO, MAX_VOLUME_BYTES
from tests.robustness.nifti import bomb, extension_bomb, flipped_headers, forged_trailer, small_series, with_field

SERIES = small_series()


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(CaseError) as caught:
        load_case({"image": str(path)})
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_small_gzip_file_that_unpacks_to_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(bomb((256, 256, 32, 60)))  # of 126 MB as uint8, 503 MB as float32
    assert path.stat().st_size < 0.15e6
    tracemalloc.start()
    try:
        with pytest.raises(CaseError, match="if that is right, unpack the file first"):
            read_nifti(path, case="c", key="image")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_a_series_is_read_in_pieces_into_float32_alone(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(bomb((128, 128, 16, 20), dtype))
    tracemalloc.start()
    try:
        array = read_nifti(path, case="c", key="image").array
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < array.nbytes + 8e6


def test_a_series_of_the_widest_detector_is_within_the_bound() -> None:
    assert MAX_VOLUME_BYTES >= 512 * 512 * 320 * 60 * 4


def test_more_than_the_bound_is_refused_even_where_the_file_has_it(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(with_field(SERIES, dim=[4, 2048, 2048, 640, 60, 1, 1, 1], datatype=2, bitpix=8))
    with path.open("r+b") as stream:
        stream.truncate(200 << 30)  # a sparse file
    with pytest.raises(CaseError, match=f"where {MAX_VOLUME_BYTES} are read at most"):
        read_nifti(path, case="c", key="image")


def test_noise_within_the_ratio_is_read(tmp_path: Path) -> None:
    packed = gzip.compress(SERIES)
    assert len(SERIES) < MAX_PACKED_RATIO * len(packed)
    (tmp_path / "x.nii.gz").write_bytes(packed)
    assert load_case({"image": str(tmp_path / "x.nii.gz")})["image"].shape == (16, 16, 3, 12)


@pytest.mark.parametrize("length", [len(SERIES) + 2 * 16 * 16 * 3, 2**31, 5])
def test_a_forged_trailer_is_found_by_its_content(length: int, tmp_path: Path) -> None:
    frames = (length - 352) // (2 * 16 * 16 * 3)
    content = with_field(SERIES, dim=[4, 16, 16, 3, max(12, min(frames, 30000)), 1, 1, 1])
    text = refusal(tmp_path / "x.nii.gz", forged_trailer(content, length))
    assert "expected a readable NIfTI file" in text


def test_an_extension_of_zeros_is_not_unpacked(tmp_path: Path) -> None:
    text = refusal(tmp_path / "x.nii.gz", extension_bomb(2 << 20))
    assert "vox_offset 2.09" in text


@pytest.mark.parametrize("offset", [0, 16, 348, 351, -352, np.nan, np.inf, 2**31])
def test_voxels_do_not_begin_in_the_header(offset: float, tmp_path: Path) -> None:
    text = refusal(tmp_path / "x.nii", with_field(SERIES, vox_offset=offset))
    assert "vox_offset" in text


@pytest.mark.parametrize("shape", [(2, 2, 3), (1, 1, 1), (3, 3, 2), (32, 2, 3)])
def test_a_matrix_too_small_for_an_image_is_named(shape: tuple[int, int, int], tmp_path: Path) -> None:
    text = refusal(tmp_path / "x.nii", small_series(shape))
    assert f"expected slices of at least 4 x 4 pixels, got {shape}" in text


def test_every_byte_of_the_header_may_be_damaged(tmp_path: Path) -> None:
    """What comes is an error of the case or a series that can be worked with; byte 299 and 307 are of the affine."""
    path = tmp_path / "x.nii"
    read = refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for name, content in flipped_headers(SERIES, masks=(0x41, 0x80)):
            path.write_bytes(content)
            try:
                loaded = load_case({"image": str(path)})
            except CaseError:
                refused += 1
            else:
                assert np.isfinite(loaded["affine"]).all(), name
                assert np.isfinite(loaded["image"]).all(), name
                read += 1
    assert read > 100
    assert refused > 40


@settings(max_examples=40)
@given(cut=st.integers(0, 352), junk=st.binary(max_size=200))
def test_any_junk_in_the_header_is_a_case_error_or_a_series(
    cut: int, junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("junk") / "x.nii"
    path.write_bytes(SERIES[:cut] + junk + SERIES[cut + len(junk) :])
    with contextlib.suppress(CaseError):
        assert load_case({"image": str(path)})["image"].ndim == 4


@settings(max_examples=40)
@given(place=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_any_flip_in_a_packed_file_is_noticed_or_changes_nothing(
    place: int, mask: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packed = bytearray(gzip.compress(SERIES, mtime=0))
    packed[place % len(packed)] ^= mask
    path = tmp_path_factory.mktemp("flip") / "x.nii.gz"
    path.write_bytes(packed)
    try:
        found = load_case({"image": str(path)})["image"]
    except CaseError:
        return
    np.testing.assert_array_equal(found, nib.Nifti1Image.from_bytes(SERIES).get_fdata())


def test_a_full_disk_is_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, stream: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as write(2) has it: no name

    monkeypatch.setattr(nib.Nifti1Image, "to_stream", fail)
    with pytest.raises(OSError, match="No space left on device: '.*mask.nii'") as caught:
        write_nifti(tmp_path / "mask.nii", np.ones((2, 2, 2)), np.eye(4))
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "mask.nii")
