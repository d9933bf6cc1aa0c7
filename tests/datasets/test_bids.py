"""`ctp-stroke datalist` of BIDS-like folders."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scripts import cli
from scripts.datasets import bids
from scripts.io import load_datalist

from . import trees


def main(*words: object) -> int:
    return cli.main(["datalist", *map(str, words)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two subjects, the second with two sessions; everything on the grid of the series."""
    root, affine = tmp_path / "study", trees.series_affine()
    arrays = trees.volumes(trees.SHAPE, affine)
    for stem in ("sub-01/ct/sub-01", "sub-02/ses-a/ct/sub-02_ses-a", "sub-02/ses-b/ct/sub-02_ses-b"):
        trees.save(root / f"{stem}_ctp.nii.gz", trees.series(), affine, dt_s=1.5)
        for key in trees.MAPS:
            trees.save(root / f"{stem}_desc-vendor_{key}.nii.gz", abs(arrays[key]), affine)
    trees.save(root / "sub-01/ses-mr/dwi/sub-01_ses-mr_dwi.nii.gz", arrays["dwi"], affine)
    for stem in ("sub-01/ses-mr/dwi/sub-01_ses-mr", "sub-02/ses-b/ct/sub-02_ses-b"):
        trees.save(root / f"{stem}_label-lesion_mask.nii.gz", arrays["lesion-msk"], affine)
        trees.save(root / f"{stem}_label-brain_mask.nii.gz", arrays["lesion-msk"], affine)
    (root / "dataset_description.json").write_text("{}")
    return root


def test_files_are_found_by_their_entities(root: Path) -> None:
    found = bids.find(root)
    assert not found.problems
    files = {
        case["case"]: {k: Path(v).name for k, v in case.items() if k not in ("case", "subject")} for case in found.cases
    }
    assert list(files) == ["sub-01", "sub-02_ses-a", "sub-02_ses-b"]
    assert files["sub-01"]["dwi"] == "sub-01_ses-mr_dwi.nii.gz"  # of another session: there is one series only
    assert files["sub-01"]["label"] == "sub-01_ses-mr_label-lesion_mask.nii.gz"
    assert files["sub-02_ses-b"]["cbf"] == "sub-02_ses-b_desc-vendor_cbf.nii.gz"
    assert "label" not in files["sub-02_ses-a"]
    assert [case["subject"] for case in found.cases] == ["sub-01", "sub-02", "sub-02"]


def test_a_datalist_needs_no_preparation_on_one_grid(root: Path, capsys) -> None:
    assert main(root, "--out", root / "list.json", "--split", "1/0/1") == 0
    assert capsys.readouterr().out.startswith(f"bids: {root}\n")
    sections = json.loads((root / "list.json").read_text())
    assert [case["case"] for case in sections["unlabeled"]] == ["sub-02_ses-a"]
    for name in ("training", "testing", "unlabeled"):
        assert len(load_datalist(root / "list.json", name, root)) == 1


def test_patterns_replace_the_rules(root: Path) -> None:
    found = bids.find(root, {"label": "*label-brain_mask.nii.gz"})
    assert found.cases[0]["label"].endswith("label-brain_mask.nii.gz")
    assert "cbf" in found.cases[0]


def test_two_files_of_a_kind_are_a_problem_until_a_pattern_chooses(root: Path, capsys) -> None:
    series = root / "sub-01/ct/sub-01_ctp.nii.gz"
    (root / "sub-01/ct/sub-01_run-2_ctp.nii.gz").write_bytes(series.read_bytes())
    assert main(root) == 1
    error = capsys.readouterr().err
    assert "case 'sub-01', image: expected one _ctp file, got 2: sub-01_ctp.nii.gz, sub-01_run-2_ctp.nii.gz" in error
    (root / "sub-01/ct/sub-01_run-2_ctp.nii.gz").rename(root / "sub-01/ct/sub-01_run-2_ct.nii.gz")
    assert main(root, "--pattern", "image=*_ctp.nii.gz") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pattern", "image"], "expected KEY=GLOB"),
        (["--pattern", "adc=*_adc.nii.gz"], "expected keys of image, cbf"),
        (["--pattern", "image=*", "--layout", "isles2018"], "expected the layout bids, got isles2018"),
        (["--layout", "isles24"], "layout: expected one of isles2018, isles2024, unitobrain, bids, got 'isles24'"),
    ],
)
def test_bad_options(root: Path, words: list[str], message: str, capsys) -> None:
    assert main(root, *words) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_layout(tmp_path: Path, capsys) -> None:
    (tmp_path / "patients").mkdir()
    assert main(tmp_path) == 1
    assert "expected folders of one of the layouts isles2018 (case_1, case_2, …), isles2024" in capsys.readouterr().err


def test_the_page_of_a_data_set_shows_every_case(root: Path, capsys) -> None:
    (root / "sub-01").rename(root / "sub-03")
    for file in sorted(root.rglob("sub-01*")):
        file.rename(file.with_name(file.name.replace("sub-01", "sub-03")))
    page = root / "page.html"
    assert main(root, "--split", "1/0/1", "--report", page) == 0
    text = page.read_text(encoding="utf-8")
    label = nib.load(next(root.glob("sub-03/ses-mr/dwi/*lesion_mask*")))
    assert f"14 frames, 2 x 2 x 8 mm, {np.asarray(label.dataobj).sum() * 0.032:.1f} ml" in text
    assert text.count("<figure>") == 3
    assert "http" not in text.replace("http-equiv", "")
    picture = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)\"", text)[1])))
    assert picture.width == 160
    red, _, blue = np.moveaxis(np.asarray(picture.convert("RGB")).astype(int), -1, 0)
    assert (red - blue > 50).any()  # the lesion
