import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts import cli
from scripts.datasets.isles2018 import find_cases
from scripts.io import DatasetError, load_case, load_datalist
from tests.io.conftest import save

from .conftest import TOKENS

Make = Callable[..., Path]


def main(arguments: list[str]) -> int:
    return cli.main(["datalist", *arguments])


def files_of(root: Path, case: int, key: str) -> list[Path]:
    return sorted((root / "TRAINING" / f"case_{case}").glob(f"*.{TOKENS[key]}.*/*.nii*"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("leave_out", [(), ("dwi",), ("dwi", "label")])
def test_finds_the_files_of_every_case(isles: Make, suffix: str, leave_out: tuple[str, ...]) -> None:
    root = isles(11, leave_out=leave_out, suffix=suffix)
    cases = find_cases(root)
    assert [case["case"] for case in cases] == [f"case_{n}" for n in range(1, 12)]  # by number: 10 after 9
    for case in cases:
        assert set(case) == {"case", "subject", *TOKENS} - set(leave_out)
        for key in set(TOKENS) - set(leave_out):
            assert f".{TOKENS[key]}." in case[key]
            assert (root / case[key]).is_file()
    load_case({key: root / value if key in TOKENS else value for key, value in cases[0].items()})


def test_root_may_be_the_folder_of_the_cases(isles: Make) -> None:
    root = isles(2)
    inner = find_cases(root / "TRAINING")
    assert [f"TRAINING/{case['image']}" for case in inner] == [case["image"] for case in find_cases(root)]


def test_without_dwi(isles: Make) -> None:
    root = isles(2, leave_out=())
    assert all("dwi" in case for case in find_cases(root))
    assert not any("dwi" in case for case in find_cases(root, with_dwi=False))
    files_of(root, 1, "dwi")[0].unlink()  # a DWI may be missing from any case
    assert ["dwi" in case for case in find_cases(root)] == [False, True]


def test_hidden_and_foreign_files_are_left_out(isles: Make) -> None:
    root = isles(1)
    series = files_of(root, 1, "image")[0]
    series.with_name("._" + series.name).write_bytes(b"resource fork")
    series.with_name(series.name + "~").write_bytes(b"backup")
    (root / "TRAINING" / "notes").mkdir()
    assert len(find_cases(root)) == 1


def test_the_folder_names_the_file_where_its_own_name_does_not(isles: Make) -> None:
    root = isles(1)
    series = files_of(root, 1, "image")[0]
    series.rename(series.with_name("volume.nii"))
    assert find_cases(root)[0]["image"].endswith("volume.nii")


def test_every_problem_is_listed(isles: Make) -> None:
    root = isles(7, leave_out=())
    files_of(root, 1, "tmax")[0].unlink()
    twin = files_of(root, 2, "cbf")[0]
    shutil.copy(twin, twin.with_name(twin.name.replace("345", "999")))
    truncated = files_of(root, 3, "image")[0]
    truncated.write_bytes(truncated.read_bytes()[:500])
    save(files_of(root, 4, "mtt")[0], np.ones((3, 3, 2), np.float32))
    files_of(root, 5, "label")[0].write_bytes(b"not a NIfTI")
    files_of(root, 6, "label")[0].unlink()
    with pytest.raises(DatasetError) as caught:
        find_cases(root)
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5, problems  # a map may be missing: it is computed
    for part in (
        "case 'case_2', cbf: expected one CT_CBF file, got 2: SMIR.Brain.XX.O.CT_CBF.",
        f"case 'case_3', image '{truncated}': expected a readable NIfTI file (.nii or .nii.gz), got",
        "expected the grid (6, 5, 2) of 'image', got (3, 3, 2)",
        "case 'case_5', label",
        "case 'case_6', label: expected one OT file, got none",
    ):
        assert part in problems


def test_folders_without_maps_are_a_datalist(isles: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = isles(3, leave_out=("cbf", "cbv", "mtt", "tmax"))
    assert main([str(root), "--split", "1/1/1"]) == 0
    (case,) = load_datalist(root / "datalist.json", "training", root)
    assert set(case) == {"case", "subject", "image", "dwi", "label"}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"isles2018: {root}"
    assert [line.split() for line in lines[1:9]] == [
        ["file", "found", "missing", "from"],
        ["image", "3", "-"],
        *([key, "0", "all"] for key in ("cbf", "cbv", "mtt", "tmax")),
        ["dwi", "3", "-"],
        ["label", "3", "-"],
    ]


def test_bad_cases_are_left_out_if_asked(isles: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = isles(4)
    truncated = files_of(root, 3, "image")[0]
    truncated.write_bytes(truncated.read_bytes()[:500])
    assert main([str(root)]) == 1
    assert not (root / "datalist.json").exists()
    assert main([str(root), "--skip-bad", "--split", "1/1/1"]) == 0
    names = {c["case"] for part in json.loads((root / "datalist.json").read_text()).values() for c in part}
    assert names == {"case_1", "case_2", "case_4"}
    captured = capsys.readouterr()
    assert "left out: case 'case_3', image" in captured.err
    assert "3 cases of 3 patients: 1 left out, training 1" in captured.out


def test_a_case_without_series_is_one_problem(isles: Make) -> None:
    root = isles(2)
    files_of(root, 1, "image")[0].unlink()
    with pytest.raises(DatasetError, match="^case 'case_1', image: expected one CT_4DPWI file, got none$"):
        find_cases(root)


def test_no_folder_and_no_cases(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="root '.*none': expected an ISLES 2018 folder"):
        find_cases(tmp_path / "none")
    with pytest.raises(DatasetError, match="expected folders case_1, case_2, …, got none"):
        find_cases(tmp_path)


def test_slabs_of_one_patient_are_told_by_their_grids(isles: Make) -> None:
    root = isles(6, slabs=True)
    assert [c["subject"] for c in find_cases(root)] == ["case_1", "case_1", "case_3", "case_3", "case_5", "case_5"]


def test_other_patients_and_other_numbers_are_no_slabs(isles: Make) -> None:
    root = isles(4, slabs=True)
    (root / "TRAINING" / "case_2").rename(root / "TRAINING" / "case_9")  # no longer consecutive
    image = files_of(root, 4, "image")[0]
    stored = nib.load(image)
    timed = nib.Nifti1Image(np.asanyarray(stored.dataobj), stored.affine)
    timed.header.set_xyzt_units("mm", "sec")
    timed.header["pixdim"][4] = 1.5  # another frame interval
    nib.save(timed, image)
    assert [c["subject"] for c in find_cases(root)] == ["case_1", "case_3", "case_4", "case_9"]


def test_repeated_scans_of_one_place_or_of_another_matrix_are_no_slabs(isles: Make) -> None:
    root = isles(2, slabs=True)
    affine = nib.load(files_of(root, 1, "image")[0]).affine
    for file in (root / "TRAINING" / "case_2").rglob("*.nii"):
        save(file, np.asanyarray(nib.load(file).dataobj), affine)
    assert [c["subject"] for c in find_cases(root)] == ["case_1", "case_2"]
    affine[2, 3] += 30
    for file in (root / "TRAINING" / "case_2").rglob("*.nii"):
        save(file, np.asanyarray(nib.load(file).dataobj)[:, :4], affine)
    assert [c["subject"] for c in find_cases(root)] == ["case_1", "case_2"]


@pytest.mark.parametrize(
    "table", ["case,subject\ncase_1,A\n2,B\n3,A\n99,C\n", "\ufeffCase;Age;Subject\n1;70;A\n2;71;B\n3;70;A\n"]
)
def test_patient_table(isles: Make, tmp_path: Path, table: str) -> None:
    path = tmp_path / "patients.csv"
    path.write_text(table, encoding="utf-8")
    assert [case["subject"] for case in find_cases(isles(3), patients=path)] == ["A", "B", "A"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", r"expected the columns 'case' and 'subject', got"),
        ("case,patient\n1,A\n", r"expected the columns 'case' and 'subject', got \['case', 'patient'\]"),
        ("case,subject\n1,A\n", "expected a line for 'case_2', got none"),
        ("case,subject\n1,A\n2,B\n2,C\n", "line 4: expected one subject for case '2', got two"),
        ("case,subject\n1,A\n2,\n", "line 3: expected one subject for case '2', got '2',''"),
    ],
)
def test_bad_patient_table(isles: Make, tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "patients.csv"
    path.write_text(table)
    with pytest.raises(DatasetError, match=rf"patients '{path}'.*{message}"):
        find_cases(isles(2), patients=path)


def test_missing_patient_table(isles: Make) -> None:
    with pytest.raises(FileNotFoundError, match=r"patients 'none\.csv': expected a CSV table"):
        find_cases(isles(1), patients="none.csv")


def test_command_writes_a_datalist_that_loads(isles: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = isles(8, leave_out=())
    assert main([str(root), "--split", "4/1/3"]) == 0
    counts = {s: len(load_datalist(root / "datalist.json", s, root)) for s in ("training", "validation", "testing")}
    assert counts == {"training": 4, "validation": 1, "testing": 3}
    line = f"8 cases of 8 patients: training 4, validation 1, testing 3 -> {root / 'datalist.json'}\n"
    assert capsys.readouterr().out.endswith(line)


def test_command_is_reproducible_and_obeys_the_seed(isles: Make, tmp_path: Path) -> None:
    root = isles(8)
    texts = []
    for number, seed in enumerate("001"):
        out = tmp_path / f"{number}.json"
        assert main([str(root), "--out", str(out), "--seed", seed]) == 0
        texts.append(out.read_text())
    assert texts[0] == texts[1] != texts[2]


def test_command_takes_the_table_that_lies_with_the_data(isles: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = isles(3)
    (root / "patients.csv").write_text("case,subject\n1,A\n2,B\n3,B\n")
    assert main([str(root)]) == 0
    assert "3 cases of 2 patients" in capsys.readouterr().out


def test_command_writes_folds(isles: Make, tmp_path: Path) -> None:
    root, out = isles(10, slabs=True), tmp_path / "list.json"
    assert main([str(root), "--out", str(out), "--folds", "5"]) == 0
    folds = {case["case"]: case["fold"] for part in json.loads(out.read_text()).values() for case in part}
    assert len(folds) == 10
    for index in range(5):
        sections = json.loads((tmp_path / f"list_fold{index}.json").read_text())
        assert {case["case"] for case in sections["testing"]} == {name for name, fold in folds.items() if fold == index}
        assert sorted(case["case"] for part in sections.values() for case in part) == sorted(folds)
        subjects = [{case["subject"] for case in part} for part in sections.values()]
        assert len(set().union(*subjects)) == sum(map(len, subjects))
        assert all(sections.values())


def test_command_puts_unlabeled_cases_into_testing(isles: Make) -> None:
    root = isles(3, leave_out=("dwi", "label"))
    assert main([str(root)]) == 0
    assert len(load_datalist(root / "datalist.json", "testing", root)) == 3


def test_command_warns_where_the_counts_are_missed(isles: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(isles(6, slabs=True)), "--split", "3/1/2"]) == 0
    assert "warning: split: expected [3, 1, 2] cases" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "status"), [(["--folds", "9"], 2), (["--patients", "none.csv"], 1)])
def test_command_reports_errors_and_writes_nothing(
    isles: Make, tmp_path: Path, arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "list.json"
    assert main([str(isles(3)), "--out", str(out), *arguments]) == status
    captured = capsys.readouterr()
    assert captured.err.startswith("ctp-stroke: error: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("split", ["1/2", "a/b/c", "0/0/0", "1/-1/2"])
def test_bad_split(split: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["root", f"--split={split}"]) == 2
    assert f"expected three numbers of cases such as 65/6/23, got '{split}'" in capsys.readouterr().err


def test_runs_as_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["isles2018", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="1"):
        runpy.run_module("scripts.io.isles2018", run_name="__main__")
