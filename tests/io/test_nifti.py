import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.io import CaseError, frame_interval_s, read_nifti, write_nifti

from .conftest import AFFINE, save


def read(path: Path) -> np.ndarray:
    return read_nifti(path, case="case_7", key="image").array


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint16, np.float32, np.float64, ">i2", ">f4"])
def test_reads_what_nibabel_reads(tmp_path: Path, suffix: str, dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 200, (4, 3, 2, 13)).astype(dtype)
    path = save(tmp_path / f"x{suffix}", array)
    volume = read_nifti(path, case="c", key="image")
    assert volume.array.dtype == np.float32
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, nib.load(path).get_fdata())
    np.testing.assert_array_equal(volume.affine, nib.load(path).affine)


def test_keeps_the_memory_order_of_the_file_and_is_writeable(tmp_path: Path) -> None:
    array = read(save(tmp_path / "x.nii.gz", np.ones((4, 3, 2, 13), np.int16)))
    assert array.flags.f_contiguous
    assert array.flags.writeable


def test_applies_slope_and_intercept(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nib.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(0.5, -1024)
    path = tmp_path / "scaled.nii.gz"
    # nibabel would undo the scaling on saving: write the stored integers through the raw interface.
    with gzip.open(path, "wb") as stream:
        header = image.header.copy()
        header.set_slope_inter(0.5, -1024)
        header["vox_offset"] = 352
        stream.write(header.binaryblock + b"\0\0\0\0" + stored.tobytes(order="F"))
    np.testing.assert_array_equal(read(path), stored * 0.5 - 1024)
    np.testing.assert_array_equal(read(path), nib.load(path).get_fdata())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"case 'case_7', image '.*none.nii': expected a file, got nothing"):
        read(tmp_path / "none.nii")
    with pytest.raises(FileNotFoundError, match="got a folder"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("keep", [0, 10, 200, 400, -3])
def test_truncated_file(tmp_path: Path, suffix: str, keep: int) -> None:
    noise = np.random.default_rng(0).integers(0, 9999, (8, 8, 4, 12)).astype(np.int16)
    path = save(tmp_path / f"x{suffix}", noise)
    path.write_bytes(path.read_bytes()[: keep or None] if keep else b"")
    with pytest.raises(CaseError, match=rf"case 'case_7', image '.*x{suffix}': expected a readable NIfTI file"):
        read(path)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.txt", "x.nii.bz2"])
def test_not_a_nifti(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(CaseError, match="expected a readable NIfTI file"):
        read(path)


def test_another_image_format_is_no_nifti(tmp_path: Path) -> None:
    path = tmp_path / "x.mgz"
    nib.save(nib.MGHImage(np.ones((2, 2, 2), np.float32), np.eye(4)), path)
    with pytest.raises(CaseError, match="MGHImage"):
        read(path)


def test_one_flipped_byte_in_a_gzip_file_is_noticed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 9999, (8, 8, 4, 12)).astype(np.int16)
    path = save(tmp_path / "x.nii.gz", noise)
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 20):
        damaged = content.copy()
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(CaseError, match="expected a readable NIfTI file"):
            read(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_asks_for_more_than_memory_is_refused_before_allocating(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"x{suffix}", np.ones((2, 2, 2, 12), np.int16))
    content = bytearray(gzip.decompress(path.read_bytes()) if suffix.endswith("gz") else path.read_bytes())
    content[42:50] = np.array([32767] * 4, "<i2").tobytes()
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(CaseError, match="truncated"):
        read(path)


def test_several_padded_gzip_members_are_one_file(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 9999, (8, 8, 4, 12)).astype(np.int16)
    path = save(tmp_path / "x.nii.gz", array)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]) + bytes(7))
    np.testing.assert_array_equal(read(path), array)


def test_complex_numbers_and_singular_affines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="expected real numbers, got data type complex64"):
        read(save(tmp_path / "c.nii", np.ones((2, 2, 2), np.complex64)))
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.float32), None)
    image.header["sform_code"] = 1  # with all rows zero
    image.header["vox_offset"] = 352
    path = tmp_path / "a.nii"
    path.write_bytes(image.header.binaryblock + b"\0\0\0\0" + bytes(32))
    with pytest.raises(CaseError, match="expected an invertible affine"):
        read(path)


@pytest.mark.parametrize(
    ("unit", "pixdim", "expected"),
    [
        ("sec", 1.2, 1.2),
        ("msec", 1500, 1.5),
        ("usec", 2e6, 2.0),
        ("sec", 0, None),
        ("unknown", 1.7, 1.7),
        ("unknown", 1700, 1.7),
        ("unknown", 100, None),
        ("unknown", 0, None),
        ("hz", 1.0, None),
    ],
)
def test_frame_interval(unit: str, pixdim: float, expected: float | None) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((2, 2, 2, 12))
    header.set_xyzt_units("mm", unit)
    header["pixdim"][4] = pixdim
    assert frame_interval_s(header) == (None if expected is None else pytest.approx(expected, rel=1e-12))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_frame_interval_that_is_no_time(value: float) -> None:
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][4] = value
    assert frame_interval_s(header) is None
    header["xyzt_units"] = 2 | 56
    assert frame_interval_s(header) is None


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_written_file_is_what_nibabel_expects(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(0).random((4, 3, 2, 12))
    path = tmp_path / "new" / f"x{suffix}"
    write_nifti(path, array, AFFINE, description="lesion probability", dt_s=1.5)
    image = nib.load(path)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_allclose(image.get_fdata(), array, atol=1e-7)
    for matrix, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(matrix, AFFINE, atol=1e-4)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert frame_interval_s(image.header) == 1.5
    assert image.header["descrip"].item() == b"lesion probability"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_same_input_same_bytes(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(0).random((4, 3, 2))
    paths = [tmp_path / f"{name}{suffix}" for name in ("first", "second")]
    for path in paths:
        write_nifti(path, array, AFFINE)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_masks_are_uint8_and_integers_are_rounded_not_rescaled(tmp_path: Path) -> None:
    write_nifti(tmp_path / "mask.nii.gz", np.array([[[True, False]]]), AFFINE)
    assert nib.load(tmp_path / "mask.nii.gz").get_data_dtype() == np.uint8
    write_nifti(tmp_path / "hu.nii", np.array([[[-1000.4, 41.6]]]), AFFINE, dtype=np.int16)
    stored = nib.load(tmp_path / "hu.nii")
    assert stored.get_data_dtype() == np.int16
    assert (stored.dataobj.slope, stored.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(stored.get_fdata(), [[[-1000, 42]]])


@pytest.mark.parametrize("bad", [40000.0, np.nan])
def test_values_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError, match="array: expected values that fit into int16"):
        write_nifti(tmp_path / "x.nii", np.full((2, 2, 2), bad), AFFINE, dtype=np.int16)
    assert list(tmp_path.iterdir()) == []


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path: expected a name ending in \.nii"):
        write_nifti(tmp_path / "x.img", np.ones((2, 2, 2)), AFFINE)


def test_interrupted_writing_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.nii.gz"
    write_nifti(path, np.ones((2, 2, 2)), AFFINE)
    before = path.read_bytes()

    def fail(self: object, stream: gzip.GzipFile) -> None:
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(nib.Nifti1Image, "to_stream", fail)
    with pytest.raises(OSError, match="No space left"):
        write_nifti(path, np.zeros((2, 2, 2)), AFFINE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=3, max_size=4),
    dtype=st.sampled_from([np.uint8, np.int16, np.float32]),
    packed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, shape: list, dtype: type, packed: bool, seed: int
) -> None:
    array = np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)
    path = tmp_path_factory.mktemp("nifti") / ("x.nii.gz" if packed else "x.nii")
    write_nifti(path, array, AFFINE)
    volume = read_nifti(path, case="c", key="image")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
