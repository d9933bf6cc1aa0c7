"""`ctp-stroke datalist` of trees in the layout of ISLES'24."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts import cli
from scripts.datasets import isles2024
from scripts.io import load_case, load_datalist

from . import trees
from .test_refine import head
from .test_resample import by_itk

KEYS = {"case", "subject", "image", "cbf", "cbv", "mtt", "tmax", "dwi", "label", "dt_s"}


def main(*words: object) -> int:
    return cli.main(["datalist", *map(str, words)])


def cases_of(datalist: Path) -> dict[str, dict]:
    return {case["case"]: case for part in json.loads(datalist.read_text()).values() for case in part}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Both spellings, a case without DWI, one without maps, and files that are none of ours."""
    root = tmp_path / "train"
    trees.isles2024(root, 1)
    trees.isles2024(root, 2, subject="sub-strokecase", sessions=("ses-0001", "ses-0002"), leave_out=["dwi"])
    trees.isles2024(root, 3, leave_out=trees.MAPS)
    second = root / "derivatives" / "sub-stroke0001" / "ses-02"
    (second / "._sub-stroke0001_ses-02_space-ncct_dwi.nii.gz").write_bytes(b"resource fork")
    (second / "sub-stroke0001_ses-02_space-ncct_lvo-msk.nii.gz").write_bytes(b"another mask")
    (root / "raw_data" / "sub-stroke0001" / "notes.txt").write_text("junk")
    return root


def test_the_files_of_each_case(root: Path) -> None:
    found = isles2024.find(root)
    assert not found.problems
    assert [case["case"] for case in found.cases] == ["sub-stroke0001", "sub-stroke0002", "sub-stroke0003"]
    reference = {"reference"}
    first, second, third = (set(case) for case in found.cases)
    assert first == KEYS | reference
    assert second == first - {"dwi"}
    assert third == first - set(trees.MAPS)
    assert found.cases[0]["tmax"].endswith("perfusion-maps/sub-stroke0001_ses-01_space-ncct_tmax.nii.gz")
    assert found.others == {"ncct": 3}


def test_a_mask_that_is_also_there_uncompressed_is_one(root: Path) -> None:
    packed = next((root / "derivatives" / "sub-stroke0001" / "ses-02").glob("sub*lesion-msk.nii.gz"))
    stray = packed.with_suffix("")
    stray.write_bytes(gzip.decompress(packed.read_bytes()))
    assert isles2024.find(root).cases[0]["label"] == str(packed)
    packed.unlink()
    assert isles2024.find(root).cases[0]["label"] == str(stray)


def test_maps_on_the_grid_of_the_series_are_preferred(root: Path) -> None:
    folder = root / "raw_data" / "sub-stroke0001" / "ses-01" / "perfusion-maps"
    native = trees.save(folder / "sub-stroke0001_ses-01_cbf.nii.gz", trees.series()[..., 0], trees.series_affine())
    trees.save(folder / "sub-stroke0001_ses-01_cbv.nii.gz", trees.volumes()["cbv"], trees.ncct_affine())
    case = isles2024.find(root).cases[0]
    assert case["cbf"] == str(native)
    assert "space-ncct" in case["cbv"]


def test_the_interval_is_that_of_the_release_unless_stated(root: Path) -> None:
    series = root / "raw_data" / "sub-stroke0001" / "ses-01" / "sub-stroke0001_ses-01_ctp.nii.gz"
    trees.save(series, trees.series(), trees.series_affine(), dt_s=2.0)
    assert [case.get("dt_s") for case in isles2024.find(root).cases] == [None, 1.0, 1.0]
    series.with_name("sub-stroke0001_ses-01_ctp.json").write_text(json.dumps({"FrameTimesStart": [0, 2]}))
    trees.save(series, trees.series(), trees.series_affine())
    assert "dt_s" not in isles2024.find(root).cases[0]


def test_prepared_cases_lie_on_the_grid_of_the_series(root: Path, tmp_path: Path, capsys) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*") if path.is_file()}
    out = tmp_path / "prepared"
    assert main(root.parent / "train", "--prepared", out, "--split", "1/1/1") == 0
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*") if p.is_file()}
    printed = capsys.readouterr().out
    assert printed.startswith(f"isles2024: {root}\nfile     found  missing from\nimage        3  -\n")
    assert "cbf          2  sub-stroke0003\n" in printed
    assert "dwi          2  sub-stroke0002\n" in printed
    names = [
        case["case"]
        for s in ("training", "validation", "testing")
        for case in load_datalist(out / "datalist.json", s, out)
    ]
    assert sorted(names) == ["sub-stroke0001", "sub-stroke0002", "sub-stroke0003"]

    case = cases_of(out / "datalist.json")["sub-stroke0001"]
    loaded = load_case(
        {k: str(out / v) if k in trees.MAPS or k in ("image", "dwi", "label") else v for k, v in case.items()}
    )
    assert loaded["frame_times"].dt_s == 1.0
    given = trees.volumes()
    given["tmax"][given["tmax"] == trees.FILLING] = 0
    for key in (*trees.MAPS, "dwi"):
        expected = by_itk(given[key], trees.ncct_affine(), trees.SHAPE, trees.series_affine(), "Linear")
        np.testing.assert_allclose(loaded[key], expected, atol=1e-3 * max(1, expected.max() / 100))
    assert loaded["tmax"].min() == 0
    volume = loaded["label"].sum() * 32, given["lesion-msk"].sum() * abs(np.linalg.det(trees.ncct_affine()[:3, :3]))
    assert volume[0] == pytest.approx(volume[1], rel=0.02)
    marker = json.loads((out / "sub-stroke0001" / "prepared.json").read_text())
    assert marker["reference"]["shape"] == list(trees.NCCT_SHAPE)


def test_preparation_resumes(root: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "prepared"
    assert main(root, "--prepared", out) == 0
    first, second = (out / f"sub-stroke000{n}" / f"sub-stroke000{n}_label.nii.gz" for n in (1, 2))
    made = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    label = next((root / "derivatives" / "sub-strokecase0002" / "ses-0002").glob("*lesion-msk.nii.gz"))
    os.utime(label, ns=(1, 1))
    (out / "sub-stroke0003" / "prepared.json").unlink()  # as a kill leaves it
    capsys.readouterr()
    assert main(root, "--prepared", out) == 0
    assert capsys.readouterr().err.splitlines()[:3] == [
        "1/3 sub-stroke0001: is there",
        "2/3 sub-stroke0002: prepared",
        "3/3 sub-stroke0003: prepared",
    ]
    assert first.stat().st_mtime_ns == made[0]
    assert second.stat().st_mtime_ns > made[1]


def test_without_a_folder_to_prepare_every_problem_is_listed(root: Path, capsys) -> None:
    assert main(root) == 1
    error = capsys.readouterr().err
    assert error.count("--prepared FOLDER brings it there") == 6 + 5 + 2
    assert not (root / "datalist.json").exists()


def test_a_series_that_its_header_puts_elsewhere_is_registered(tmp_path: Path, capsys) -> None:
    root, out = tmp_path / "train", tmp_path / "prepared"
    trees.isles2024(root, 1)
    raw = root / "raw_data" / "sub-stroke0001" / "ses-01"
    reference = head(trees.places_mm(trees.NCCT_SHAPE, trees.ncct_affine())).astype(np.float32)
    trees.save(raw / "sub-stroke0001_ses-01_ncct.nii.gz", reference, trees.ncct_affine())
    moved = trees.series_affine()
    moved[:3, 3] += (9.0, -12.0, 15.0)
    frame = head(trees.places_mm(trees.SHAPE, trees.series_affine())).astype(np.float32)
    frames = np.repeat(frame[..., None], trees.FRAMES, axis=3) + np.arange(trees.FRAMES, dtype=np.float32)
    trees.save(raw / "sub-stroke0001_ses-01_ctp.nii.gz", frames, moved)
    assert main(root, "--prepared", out, "--register", "--split", "1/0/0") == 0
    assert "1/1 sub-stroke0001: prepared, registered: mutual information" in capsys.readouterr().err
    label = nib.load(out / "sub-stroke0001" / "sub-stroke0001_label.nii.gz")
    np.testing.assert_allclose(label.affine, moved, atol=1e-4)
    expected = trees.lesion(trees.places_mm(trees.SHAPE, trees.series_affine()))
    got = np.asarray(label.dataobj) > 0
    assert 2 * (got & expected).sum() / (got.sum() + expected.sum()) > 0.85
    record = json.loads((out / "sub-stroke0001" / "prepared.json").read_text())["registration"]
    assert record["kept"]
    assert record["mutual_information"][1] > record["mutual_information"][0]


def test_registration_is_of_isles2024_with_a_folder(root: Path, capsys) -> None:
    assert main(root, "--register") == 2
    assert "register: expected the layout isles2024 and --prepared" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["prepared", "", ".."])
def test_nothing_is_prepared_beside_the_data(root: Path, inside: str, capsys) -> None:
    before = sorted(root.parent.rglob("*"))
    assert main(root, "--prepared", root / inside) != 0
    assert "expected a folder apart from the data set" in capsys.readouterr().err
    assert sorted(root.parent.rglob("*")) == before


def test_bad_files_are_listed_together_and_left_out(root: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "prepared"
    damaged = next((root / "derivatives" / "sub-stroke0003").rglob("*lesion-msk.nii.gz"))
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    next((root / "raw_data" / "sub-strokecase0002").rglob("*_ctp.nii.gz")).unlink()
    assert main(root, "--prepared", out) == 1
    error = capsys.readouterr().err
    assert "case 'sub-stroke0002', image: expected one _ctp file, got none" in error
    if "sub-stroke0003" not in error:  # a gzip file is only seen to be damaged when it is read
        assert main(root, "--prepared", out, "--skip-bad") == 0
        error = capsys.readouterr().err
    assert f"case 'sub-stroke0003', label '{damaged}': expected a readable NIfTI file" in error
    assert main(root, "--prepared", out, "--skip-bad") == 0
    assert set(cases_of(out / "datalist.json")) == {"sub-stroke0001"}
    assert not (out / "sub-stroke0003" / "prepared.json").exists()


def test_a_map_that_lies_elsewhere_is_a_problem(root: Path, tmp_path: Path, capsys) -> None:
    moved = next((root / "derivatives" / "sub-stroke0001").rglob("*_cbf.nii.gz"))
    affine = trees.ncct_affine()
    affine[:3, 3] += 400
    trees.save(moved, trees.volumes()["cbf"], affine)
    assert main(root, "--prepared", tmp_path / "prepared") == 1
    assert f"cbf '{moved}': expected values inside the series, got none: it lies elsewhere" in capsys.readouterr().err


def test_labeled_and_unlabeled_cases(root: Path, tmp_path: Path) -> None:
    trees.isles2024(root, 4, leave_out=["lesion-msk"])
    out = tmp_path / "prepared"
    assert main(root, "--prepared", out, "--split", "1/1/1") == 0
    sections = json.loads((out / "datalist.json").read_text())
    assert [case["case"] for case in sections["unlabeled"]] == ["sub-stroke0004"]
    assert sum(map(len, sections.values())) == 4
