"""What is written passes others' checks and opens in others' programs, with the same voxels."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from scripts.dicom.write import write_dicom_results
from tests.dicom.conftest import FRAMES, PDF, SHAPE
from tests.dicom.simple_ct import axial_affine, classic_source, enhanced_source, make_results
from tests.dicom.world import all_places, same_mask, values_at

AFFINE = axial_affine()
MAPS = ("cbf", "cbv", "mtt", "tmax", "probability")


def program(name: str) -> str:
    """The path of a program that comes with a wheel, which lies next to the interpreter, or with the system."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(name: str, *arguments: object) -> str:
    """What a program prints; its exit status must be 0."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def errors_of(path: Path) -> list[str]:
    """The errors that dciodvfy finds; its exit status tells of those of the file's format alone."""
    arguments = [program("dciodvfy"), "-new", str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    report = done.stdout + done.stderr
    assert re.search(r"Segmentation|ParametricMap|Comprehensive3DSR|SCImage|EncapsulatedPDF", report), report
    return [line for line in report.splitlines() if line.startswith("Error")]


@pytest.fixture(scope="module")
def results(written):
    folder = written["seg"].parents[3] / "case_a"
    return {path.name.removeprefix("case_a_").split(".")[0]: nib.load(path) for path in folder.glob("*.nii.gz")}


def test_dciodvfy_finds_no_error(written):
    assert {name: errors for name, path in written.items() if (errors := errors_of(path))} == {}


@pytest.mark.parametrize("kind", ["empty", "without maps", "enhanced", "Japanese"])
def test_dciodvfy_finds_no_error_in_other_cases(tmp_path, kind):
    shape = (*SHAPE, FRAMES)
    results = make_results(tmp_path / "case_a", AFFINE, SHAPE, maps=kind != "without maps", empty=kind == "empty")
    names = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "SpecificCharacterSet": "ISO_IR 192"}
    source = enhanced_source(AFFINE, shape) if kind == "enhanced" else classic_source(AFFINE, shape, **names)
    paths = write_dicom_results(results, source, tmp_path / "out")
    assert {path.name: errors for path in paths if (errors := errors_of(path))} == {}


def test_dciodvfy_does_find_errors(written, tmp_path):
    dataset = dcmread(written["seg"])
    del dataset.SegmentSequence
    dataset.save_as(tmp_path / "seg.dcm")
    assert errors_of(tmp_path / "seg.dcm")


def test_dcmdump_reads_every_object(written):
    for path in written.values():
        assert "SOPInstanceUID" in run("dcmdump", path)


def test_dsr2html_shows_the_measurements(written, results, tmp_path):
    run("dsr2html", written["sr"], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(errors="replace")
    volume_ml = np.count_nonzero(results["lesion"].dataobj) * 0.9 * 0.9 * 8 / 1000
    assert f"{round(volume_ml, 3)} ml" in text
    assert "RESEARCH ONLY" in text
    assert "Mismatch ratio" in text


def test_dcm2pdf_gives_the_report_back(written, tmp_path):
    run("dcm2pdf", written["report"], tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes() == PDF


def test_the_pictures_open_in_dcmtk(written, tmp_path):
    run("dcmj2pnm", "+on", written["overlay_001"], tmp_path / "overlay.png")
    from PIL import Image

    assert np.array_equal(np.asarray(Image.open(tmp_path / "overlay.png")), dcmread(written["overlay_001"]).pixel_array)


def test_dcmqi_reads_the_masks(written, results, tmp_path):
    run("segimage2itkimage", "--inputDICOM", written["seg"], "--outputDirectory", tmp_path, "--outputType", "nii")
    for number, name in enumerate(("lesion", "core", "delay"), start=1):
        image = nib.load(tmp_path / f"{number}.nii.gz")
        ours = np.asarray(results[name].dataobj)
        assert same_mask(ours > 0, results[name].affine, np.asarray(image.dataobj) > 0, image.affine)


@pytest.mark.parametrize("name", MAPS)
def test_dcmqi_reads_the_maps(written, results, tmp_path, name):
    run("paramap2itkimage", "--inputDICOM", written[name], "--outputDirectory", tmp_path, "--outputType", "nii")
    image = nib.load(next(tmp_path.glob("*.nii.gz")))
    ours = np.asarray(results[name].dataobj)
    found = values_at(np.asarray(image.dataobj), image.affine, all_places(ours.shape, results[name].affine))
    assert np.array_equal(found, ours.ravel())


@pytest.mark.parametrize("name", MAPS)
def test_dcm2niix_reads_the_maps(written, results, tmp_path, name):
    run("dcm2niix", "-s", "y", "-f", name, "-o", tmp_path, written[name])
    image = nib.load(tmp_path / f"{name}.nii")
    ours = np.asarray(results[name].dataobj)
    found = values_at(np.asarray(image.dataobj), image.affine, all_places(ours.shape, results[name].affine))
    assert np.array_equal(found, ours.ravel())


def test_dcmqi_reads_a_map_of_slices_from_head_to_feet(tmp_path):
    affine = axial_affine((0.9, 0.9, -8.0))
    results = make_results(tmp_path / "case_a", affine, SHAPE)
    paths = write_dicom_results(results, classic_source(affine, (*SHAPE, FRAMES)), tmp_path / "out")
    path = next(path for path in paths if path.stem == "tmax")
    run("paramap2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path, "--outputType", "nii")
    image = nib.load(next(tmp_path.glob("*.nii.gz")))
    found = values_at(np.asarray(image.dataobj), image.affine, all_places(SHAPE, results.affine))
    assert np.array_equal(found, results.volume("tmax").ravel())


def test_dcmqi_reads_the_measurements(written, tmp_path):
    run("tid1500reader", "--inputDICOM", written["sr"], "--outputMetadata", tmp_path / "sr.json")
    assert "Ischemic lesion" in (tmp_path / "sr.json").read_text()
