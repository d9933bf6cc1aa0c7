"""`ctp-stroke datalist` of DICOM folders as UniToBrain has them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import generate_uid

from scripts import cli
from scripts.datasets import unitobrain
from scripts.io import load_case, load_datalist
from tests.dicom import vendors


def main(*words: object) -> int:
    return cli.main(["datalist", *map(str, words)])


def map_images(scan: vendors.Scan, values: np.ndarray) -> list:
    """One image for each slice, with a slope as maps have it."""
    images = []
    for index in range(values.shape[2]):
        data = vendors.classic(scan, index, 0)
        data.ImageType, data.SeriesInstanceUID = ["DERIVED", "SECONDARY"], generate_uid(entropy_srcs=["map"])
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["map", str(index)])
        vendors.set_pixels(data, values[..., index].T, bits=16, signed=False, intercept=0, slope=0.01)
        images.append(data)
    return images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two patients: one with maps, one without; the maps in a folder of their own."""
    scan = vendors.scan(slices=4)
    root = tmp_path / "unitobrain"
    for number in (1, 12):
        vendors.write(root / f"MOL-{number:03d}", vendors.datasets(scan, vendors.siemens(scan)))
    maps = root / "MOL-001_Registered_Filtered_3mm_20HU_Maps"
    values = np.random.default_rng(0).integers(0, 60, scan.hu.shape[:3]).astype(float)
    vendors.write(maps / "NLR_CBF", map_images(scan, values))
    vendors.write(maps / "NLR_TTP", map_images(scan, values))
    np.save(tmp_path / "cbf.npy", values)
    (root / "readme.txt").write_text("junk")
    return root


def test_folders_of_a_patient(root: Path) -> None:
    found = unitobrain.find(root)
    assert not found.problems
    assert [set(case) for case in found.cases] == [{"case", "subject", "image", "cbf"}, {"case", "subject", "image"}]
    assert [case["case"] for case in found.cases] == ["MOL-001", "MOL-012"]


def test_converted_with_its_maps_as_given(root: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "prepared"
    assert main(root, "--prepared", out) == 0
    assert capsys.readouterr().out.startswith(f"unitobrain: {root}\n")
    first, second = load_datalist(out / "datalist.json", "testing", out)
    scan = vendors.scan(slices=4)
    loaded = load_case(first)
    np.testing.assert_array_equal(loaded["image"], scan.hu)
    np.testing.assert_allclose(loaded["affine"], scan.affine, atol=1e-4)
    np.testing.assert_allclose(loaded["cbf"], np.load(tmp_path / "cbf.npy"), atol=1e-3)
    assert loaded["frame_times"].dt_s == pytest.approx(1.5)
    assert "cbf" not in second
    assert nib.load(first["image"]).shape == scan.hu.shape
    assert sorted(path.name for path in (out / "MOL-012").iterdir()) == [
        "MOL-012_ctp.json",
        "MOL-012_ctp.nii",
        "prepared.json",
    ]


def test_without_a_folder_to_prepare(root: Path, capsys) -> None:
    assert main(root) == 1
    assert capsys.readouterr().err.count("expected --prepared FOLDER, got DICOM") == 2


def test_a_patient_without_perfusion_does_not_stop_the_others(root: Path, tmp_path: Path, capsys) -> None:
    for file in sorted((root / "MOL-012").iterdir())[4:]:
        file.unlink()
    out = tmp_path / "prepared"
    assert main(root, "--prepared", out, "--skip-bad") == 0
    assert "MOL-012" in capsys.readouterr().err
    sections = json.loads((out / "datalist.json").read_text())
    assert [case["case"] for part in sections.values() for case in part] == ["MOL-001"]
