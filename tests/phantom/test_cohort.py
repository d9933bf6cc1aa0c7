import csv
import hashlib
import json
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts import cli
from scripts.datasets.isles2018 import find_cases
from scripts.io.datalist import load_datalist
from scripts.phantom.anatomy import load_template
from scripts.phantom.cohort import generate_cohort, plan_cohort
from scripts.phantom.preview import write_preview
from scripts.phantom.writer import _appearing_folder

COUNTS = (2, 1, 1)


def main(arguments):
    return cli.main(["phantom", *arguments])


def _hashes(root: Path) -> dict[str, str]:
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "data"
    generate_cohort(root, COUNTS, 3, matrix=32)
    return root


def test_folders_are_those_of_isles_2018(cohort):
    modalities = {"CT_4DPWI", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax", "MR_DWI", "OT"}
    for case in range(1, 5):
        folders = sorted((cohort / f"case_{case}").iterdir())
        assert {folder.name.split(".")[4] for folder in folders} == modalities
        for folder in folders:
            assert folder.name.startswith("SMIR.Brain.XX.O.")
            assert [file.name for file in folder.iterdir()] == [f"{folder.name}.nii"]
    assert len({file.name for file in cohort.rglob("SMIR*.nii")}) == 4 * 7
    assert not list(cohort.rglob(".*"))


def test_headers(cohort):
    for case in range(1, 5):
        series = nib.load(next((cohort / f"case_{case}").glob("*4DPWI*/*.nii")))
        parameters = json.loads((cohort / "truth" / f"case_{case}" / "parameters.json").read_text())
        assert series.get_data_dtype() == np.int16
        assert series.header.get_xyzt_units() == ("mm", "sec")
        interval_s = parameters["scan"]["acquisition"]["frame_interval_s"]
        assert series.header["pixdim"][4] == pytest.approx(interval_s)
        assert np.diff(parameters["frame_times_s"]) == pytest.approx(interval_s)
        assert series.shape[3] == len(parameters["aif_hu"]) == parameters["scan"]["acquisition"]["n_frames"]
        for pattern, dtype in (("CT_CBF", "float32"), ("CT_Tmax", "float32"), ("MR_DWI", "float32"), ("O.OT", "uint8")):
            image = nib.load(next((cohort / f"case_{case}").glob(f"*{pattern}*/*.nii")))
            assert image.get_data_dtype() == np.dtype(dtype)
            assert image.shape == series.shape[:3]
            np.testing.assert_array_equal(image.affine, series.affine)


def test_truth_lies_apart(cohort):
    names = {file.name for file in (cohort / "truth" / "case_1").iterdir()}
    expected = {"cbf", "cbv", "mtt", "tmax", "core", "penumbra", "brain", "aif", "old_infarct", "vessels"}
    assert names == {f"{name}.nii" for name in expected} | {"parameters.json"}


def test_datalist_and_patients(cohort):
    lengths = [
        len(load_datalist(cohort / "datalist.json", name, cohort)) for name in ("training", "validation", "testing")
    ]
    assert lengths == list(COUNTS)
    sections = json.loads((cohort / "datalist.json").read_text())
    with (cohort / "patients.csv").open() as stream:
        table = {row["case"]: row["subject"] for row in csv.DictReader(stream)}
    entries = [entry for section in sections.values() for entry in section]
    assert {entry["case"]: entry["subject"] for entry in entries} == table
    for entry in entries:
        assert not Path(entry["image"]).is_absolute()
        assert set(entry) == {"case", "subject", "image", "cbf", "cbv", "mtt", "tmax", "dwi", "label"}
    assert len(find_cases(cohort, patients=cohort / "patients.csv")) == 4


def test_same_seed_gives_the_same_bytes(cohort, tmp_path):
    generate_cohort(tmp_path / "again", COUNTS, 3, matrix=32)
    assert _hashes(tmp_path / "again") == _hashes(cohort)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_workers(cohort, tmp_path):
    generate_cohort(tmp_path / "parallel", COUNTS, 3, matrix=32, workers=2, progress=True)
    assert _hashes(tmp_path / "parallel") == _hashes(cohort)


@pytest.mark.slow
def test_an_error_in_a_worker_ends_the_run(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "truth").write_text("in the way")
    (tmp_path / "out" / "phantom.json").write_text("{}")
    with pytest.raises(OSError, match="truth"):
        generate_cohort(tmp_path / "out", (3, 0, 0), 3, matrix=32, workers=2, overwrite=True)


def test_test_cases_do_not_depend_on_the_training_cases(cohort, tmp_path):
    generate_cohort(tmp_path / "few", (0, 0, 1), 3, matrix=32, with_dwi=False)
    alone, among = tmp_path / "few" / "case_1", cohort / "case_4"
    files = {file.name.split(".")[4]: file for file in alone.rglob("*.nii")}
    assert "MR_DWI" not in files
    assert "dwi" not in json.loads((tmp_path / "few" / "datalist.json").read_text())["testing"][0]
    for modality, file in files.items():
        assert file.read_bytes() == next(among.glob(f"*{modality}*/*.nii")).read_bytes()


def test_plans_are_prefixes_of_longer_plans():
    def keys(plan, section):
        return [(case.patient_key, case.scan_key, case.subject) for case in plan if case.section == section]

    short, long = plan_cohort((5, 2, 4), 9), plan_cohort((60, 10, 20), 9)
    for section in ("training", "validation", "testing"):
        assert keys(long, section)[: len(keys(short, section))] == keys(short, section)


def test_patients_have_one_or_two_scans_in_one_section():
    plan = plan_cohort((200, 50, 100), 1)
    scans: dict[str, list[str]] = {}
    for case in plan:
        scans.setdefault(case.subject, []).append(case.section)
    assert {len(sections) for sections in scans.values()} == {1, 2}
    assert all(len(set(sections)) == 1 for sections in scans.values())
    assert len(scans) / len(plan) == pytest.approx(63 / 94, abs=0.05)
    assert len({case.patient_key for case in plan}) == len(scans)
    assert len({case.scan_key for case in plan}) == len(plan)
    assert [case.name for case in plan] == [f"case_{n}" for n in range(1, 351)]


def test_bad_numbers_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"counts must be three numbers of cases.* got \(0, 0, 0\)"):
        plan_cohort((0, 0, 0), 1)
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        plan_cohort((1, 0, 0), -1)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        generate_cohort(tmp_path / "a", (1, 0, 0), 1, workers=0)
    with pytest.raises(ValueError, match="matrix must be at least 16, got 4"):
        generate_cohort(tmp_path / "a", (1, 0, 0), 1, matrix=4)
    assert not (tmp_path / "a").exists()


def test_existing_folders_are_safe(cohort, tmp_path):
    before = _hashes(cohort)
    with pytest.raises(FileExistsError, match="expected an empty or new folder.*--overwrite"):
        generate_cohort(cohort, (1, 0, 0), 1, matrix=32)
    assert _hashes(cohort) == before
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"only a phantom's folder is overwritten.*phantom\.json"):
        generate_cohort(tmp_path, (1, 0, 0), 1, matrix=32, overwrite=True)
    with pytest.raises(FileExistsError, match="expected a folder, got a file"):
        generate_cohort(tmp_path / "notes.txt", (1, 0, 0), 1, matrix=32)
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_command_line(tmp_path, capsys):
    out = tmp_path / "cli"
    options = ["--out", str(out), "--seed", "4", "--matrix", "32", "--workers", "1"]
    assert main([*options, "--cases", "2", "--report", "--preview", "2"]) == 0
    printed = capsys.readouterr().out
    assert "Tmax > 6 s" in printed
    assert "training" in printed
    assert (out / "preview.png").read_bytes().startswith(b"\x89PNG")
    (out / "mine.txt").write_text("kept")
    assert main([*options, "--split", "0/0/1", "--without-dwi", "--overwrite", "--preview", "1"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *["case_1", "datalist.json", "mine.txt", "patients.csv", "phantom.json", "preview.png", "truth"]
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected --cases or --split"),
        (["--cases", "5", "--split", "1/1/1"], "--cases 5 is not the sum of --split 1/1/1"),
        (["--split", "1,1,1"], "expected three numbers of cases such as 65/6/23"),
        (["--cases", "0"], "Invalid value for '--cases'"),
        (["--cases", "1", "--matrix", "3"], "matrix must be at least 16"),
    ],
)
def test_command_line_errors(tmp_path, capsys, options, message):
    assert main(["--out", str(tmp_path / "x"), *options]) == 2
    assert message in capsys.readouterr().err


def test_folder_does_not_appear_when_writing_fails(tmp_path):
    def fail() -> None:
        with _appearing_folder(tmp_path / "case_1") as folder:
            (folder / "half").write_text("x")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_case_takes_at_most_three_seconds_on_two_cores(tmp_path):
    load_template()
    start_s = time.process_time()
    generate_cohort(tmp_path / "timed", (0, 0, 6), 5)
    assert (time.process_time() - start_s) / 6 < 2 * 3.0


def test_preview_needs_cases(tmp_path):
    with pytest.raises(ValueError, match="cases must not be empty"):
        write_preview(tmp_path / "preview.png", tmp_path, [])
