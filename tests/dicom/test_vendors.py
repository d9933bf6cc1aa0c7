"""A small CT perfusion in the layout of each vendor, read back: HU, affine and times, against what was written."""

from __future__ import annotations

import shutil
import subprocess
import time
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from scripts.dicom.read import read_source, read_study
from tests.dicom import vendors
from tests.dicom.vendors import Scan

MIDNIGHT = datetime(2024, 3, 9, 23, 59, 52, 500000)


def check(read, truth: Scan) -> None:
    np.testing.assert_array_equal(read.hu, truth.hu)
    assert read.hu.dtype == np.int16
    assert read.hu.flags.f_contiguous
    np.testing.assert_allclose(read.affine, truth.affine, atol=1e-4)
    np.testing.assert_allclose(read.times_s, truth.times_s - truth.times_s.min(), atol=2e-6)


def test_siemens_one_series(tmp_path: Path) -> None:
    scan = vendors.scan()
    read = read_study(vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.siemens(scan))))
    check(read, scan)
    assert "by AcquisitionDateTime" in read.source.chosen
    assert len(read.source.instances) == scan.hu.shape[2] * scan.hu.shape[3]
    assert [
        header.SliceLocation if "SliceLocation" in header else header.ImagePositionPatient[2]
        for header in read.source.headers
    ] == [12.25, 17.25, 22.25]
    assert all("PixelData" not in header and header.PatientID for header in read.source.headers)


def test_siemens_series_for_each_time(tmp_path: Path) -> None:
    scan = vendors.scan()
    data = vendors.datasets(scan, vendors.siemens(scan), vendors.series_per_time)
    read = read_study(vendors.write(tmp_path / "s", data))
    check(read, scan)
    assert "series 7 to 20" in read.source.chosen
    assert len({instance.series_uid for instance in read.source.instances}) == scan.hu.shape[3]


def test_ge_cine(tmp_path: Path) -> None:
    scan = vendors.scan()
    read = read_study(vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.ge_cine(scan))))
    truth = scan.hu.copy()
    truth[0, 0] = -1024
    check(read, replace(scan, hu=truth))
    assert "by ContentTime" in read.source.chosen


def test_philips_jog_keeps_the_times_of_each_slab(tmp_path: Path) -> None:
    scan = vendors.jog_times(vendors.scan(slices=4, dt_s=3.0))
    read = read_study(vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.philips_jog(scan))))
    check(read, scan)
    assert read.times_s[3, 0] == pytest.approx(1.5)


def test_a_jog_that_ends_in_the_lower_slab(tmp_path: Path) -> None:
    scan = vendors.jog_times(vendors.scan(slices=4, dt_s=3.0))
    data = [
        item
        for item in vendors.datasets(scan, vendors.philips_jog(scan))
        if not (item.TemporalPositionIdentifier == 14 and item.ImagePositionPatient[2] > 20)
    ]
    read = read_study(vendors.write(tmp_path / "s", data))
    check(read, replace(scan, hu=scan.hu[..., :13], times_s=scan.times_s[:, :13]))
    assert len(read.source.instances) == 4 * 13


def test_canon_volumes_across_midnight(tmp_path: Path) -> None:
    scan = replace(vendors.scan(), start=MIDNIGHT)
    read = read_study(vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.canon(scan))))
    check(read, scan)
    assert "by AcquisitionTime" in read.source.chosen


@pytest.mark.parametrize("reference", [False, True])
def test_enhanced_multi_frame(tmp_path: Path, reference: bool) -> None:
    scan = vendors.jog_times(vendors.scan())
    folder = vendors.write(tmp_path / "s", [vendors.enhanced(scan, reference)])
    for path in (folder, folder / "IM00000"):
        read = read_study(path)
        check(read, scan)
        assert len(read.source.headers) == len(read.source.instances) == 1
        assert ("Reference" if reference else "Acquisition") in read.source.chosen.split(" by ")[1]


def test_oblique_planes(tmp_path: Path) -> None:
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    row, column, step = (tuple(turn @ axis) for axis in ([1, 0, 0], [0, 0.8, -0.6], [0, 3.0, 4.0]))
    scan = replace(vendors.scan(), row=row, column=column, step_mm=step)
    check(read_study(vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.siemens(scan)))), scan)


def smooth(scan: Scan, affine: np.ndarray) -> np.ndarray:
    """A smooth field at the places of a grid, HU."""
    indices = np.stack(np.meshgrid(*map(np.arange, scan.hu.shape[:3]), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(indices @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    field = 400 * np.cos(x / 11) * np.cos(y / 9) * np.cos(z / 17)
    return np.rint(field[..., None] * np.linspace(0.5, 1, scan.hu.shape[3])).astype(np.int16)


@pytest.mark.parametrize("degrees", [18.0, -12.5])
def test_a_tilted_gantry_is_straightened(tmp_path: Path, degrees: float) -> None:
    scan = vendors.tilted(vendors.scan(columns=40, rows=60, slices=5), degrees)
    scan = replace(scan, hu=smooth(scan, scan.affine))
    read = read_study(vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.siemens(scan))))
    axes = read.affine[:3, :3] / np.linalg.norm(read.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(read.affine @ [0, 0, 2, 1], scan.affine @ [0, 0, 2, 1], atol=1e-4)
    inside = (slice(None), slice(10, -10))
    expected = smooth(scan, read.affine)
    assert np.abs(read.hu[inside].astype(int) - expected[inside]).max() <= 3
    assert np.abs(scan.hu[inside].astype(int) - expected[inside]).max() > 50  # without the shift
    np.testing.assert_array_equal(read.hu[:, :, 2], scan.hu[:, :, 2])


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_compression(tmp_path: Path, syntax: str, signed: bool) -> None:
    scan = vendors.scan(columns=34, rows=40)

    def compress(data, index, frame):
        hu = scan.hu[:, :, index, frame].T
        vendors.set_pixels(data, hu, bits=16 if signed else 12, signed=signed, intercept=0 if signed else -1024)
        data.compress(syntax)

    read = read_study(vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.siemens(scan), compress)))
    check(read, scan)


def test_a_compressed_multi_frame_object(tmp_path: Path) -> None:
    scan = vendors.scan(columns=34, rows=40)
    data = vendors.enhanced(scan)
    data.compress(JPEG2000Lossless)
    check(read_study(vendors.write(tmp_path / "s", [data])), scan)


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="dcmcjpeg (Debian: dcmtk) is not installed")
def test_jpeg_lossless(tmp_path: Path) -> None:
    scan = vendors.scan()
    folder = vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.siemens(scan)))
    for file in folder.iterdir():
        subprocess.run(["dcmcjpeg", "+e1", file, file], check=True)
    check(read_study(folder), scan)


def test_a_mixed_study_a_directory_and_an_archive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from pydicom.fileset import FileSet

    scan = vendors.scan()
    folder = vendors.write(tmp_path / "study", vendors.companions(scan), "X")
    vendors.write(folder / "sub", vendors.datasets(scan, vendors.siemens(scan)))
    (folder / "README.txt").write_text("no DICOM")
    with caplog.at_level("INFO", logger="scripts.dicom"):
        read = read_study(folder)
    check(read, scan)
    assert read.source.chosen.startswith(
        "series 5, of 7 series (5 CT, 2 other) in all: the only one with many images of each"
    )
    for value in vendors.PATIENT.values():
        assert len(value) == 1 or value not in caplog.text

    files = FileSet()
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix != ".txt":
            files.add(file)
    files.write(tmp_path / "disc")
    check(read_study(tmp_path / "disc" / "DICOMDIR"), scan)
    check(read_study(tmp_path / "disc"), scan)

    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(tmp_path))
    check(read_study(tmp_path / "study.zip"), scan)
    source = read_source(tmp_path / "study.zip")
    assert source.instances == read.source.instances
    assert len(source.headers) == 3


def test_the_series_can_be_named_and_the_better_of_two_is_taken(tmp_path: Path) -> None:
    scan = vendors.scan()
    folder = vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.siemens(scan)))

    def thin(data, index, frame):
        data.SliceThickness, data.SeriesNumber = 1.0, 4
        data.SeriesInstanceUID, data.SOPInstanceUID = "1.2.3.4", f"1.2.3.4.{index}.{frame}"
        data.RescaleIntercept = -1023

    vendors.write(folder / "thin", vendors.datasets(scan, vendors.siemens(scan), thin))
    read = read_study(folder)
    check(read, scan)
    assert "preferred to series 4: thicker slices" in read.source.chosen
    check(read_study(folder, series_uid="1.2.3.4"), replace(scan, hu=scan.hu + np.int16(1)))


def test_values_that_are_not_whole_and_slopes_that_change(tmp_path: Path) -> None:
    scan = vendors.scan()

    def change(data, index, frame):
        slope, intercept = ((0.5, -1000.25), (2.0, -1024.0))[frame % 2]
        vendors.set_pixels(data, scan.hu[:, :, index, frame].T, bits=16, signed=False, slope=slope, intercept=intercept)

    read = read_study(vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.siemens(scan), change)))
    assert read.hu.dtype == np.float32
    assert 0 < np.abs(read.hu - scan.hu).max() <= 1
    np.testing.assert_allclose(read.hu[..., ::2], np.rint((scan.hu[..., ::2] + 1000.25) / 0.5) * 0.5 - 1000.25)


def dcm2niix(folder: Path, out: Path) -> nib.Nifti1Image:
    """The 4D series that dcm2niix makes of a folder."""
    import dcm2niix as wheel

    out.mkdir()
    subprocess.run([wheel.bin, "-z", "n", "-b", "n", "-f", "x", "-o", out, folder], check=True, capture_output=True)
    (file,) = out.glob("*.nii")
    return nib.load(file)


@pytest.mark.parametrize("layout", [vendors.siemens, vendors.ge_cine, vendors.philips_jog, vendors.canon])
def test_voxels_lie_where_dcm2niix_puts_them(tmp_path: Path, layout) -> None:
    angle = np.deg2rad(7)
    scan = replace(
        vendors.scan(slices=4),
        column=(0.0, float(np.cos(angle)), float(np.sin(angle))),
        step_mm=(0.0, -5 * float(np.sin(angle)), 5 * float(np.cos(angle))),
    )
    folder = vendors.write(tmp_path / "s", vendors.datasets(scan, layout(scan)))
    image = dcm2niix(folder, tmp_path / "out")
    read = read_study(folder)
    # dcm2niix turns the rows around: places are compared, not indices.
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    flip[1, 3] = scan.hu.shape[1] - 1
    np.testing.assert_allclose(image.affine @ flip, read.affine, atol=0.01)
    theirs = np.asarray(image.dataobj)[:, ::-1].copy()
    if layout is vendors.ge_cine:
        theirs[0, 0] = -1024  # padding, which dcm2niix keeps
    np.testing.assert_array_equal(theirs, read.hu)


def test_reading_takes_at_most_half_as_long_again_as_decoding(tmp_path: Path) -> None:
    scan = vendors.scan(columns=512, rows=512, slices=4, frames=12)
    folder = vendors.write(tmp_path / "s", vendors.datasets(scan, vendors.siemens(scan)))
    paths = sorted(folder.iterdir())

    def seconds(work) -> float:
        def once() -> float:
            start = time.process_time()
            work()
            return time.process_time() - start

        return min(once() for _ in range(5))

    decoding_s = seconds(lambda: [dcmread(path).pixel_array for path in paths])
    assert seconds(lambda: read_study(folder)) <= 1.5 * decoding_s
