import json
from pathlib import Path
from typing import Any

import pytest

from scripts.io import DatasetError, load_datalist, write_datalist


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "datalist.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def load(tmp_path: Path, entries: Any, *, check: bool = False) -> list[dict[str, Any]]:
    return load_datalist(write(tmp_path, {"training": entries}), "training", tmp_path, check=check)


def test_paths_become_absolute_and_cases_get_names(tmp_path: Path) -> None:
    entries = [
        {"image": "TRAINING/case_1/4d.nii", "label": "TRAINING/case_1/ot.nii", "dwi": None, "subject": "p1"},
        "sub/../ctp.nii.gz",
        {"image": str(tmp_path / "inside.nii"), "case": "third"},
    ]
    first, second, third = load(tmp_path, entries)
    assert first == {
        "case": "case_1",
        "image": str(tmp_path / "TRAINING/case_1/4d.nii"),
        "label": str(tmp_path / "TRAINING/case_1/ot.nii"),
        "subject": "p1",
    }
    assert second["case"] == "ctp"
    assert Path(second["image"]).resolve() == (tmp_path / "ctp.nii.gz").resolve()
    assert third == {"case": "third", "image": str(tmp_path / "inside.nii")}


def test_a_relative_dataset_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"testing": ["x.nii"]})
    monkeypatch.chdir(tmp_path)
    (loaded,) = load_datalist("datalist.json", "testing", ".", check=False)
    assert Path(loaded["image"]) == tmp_path / "x.nii"


@pytest.mark.parametrize("path", ["../x.nii", "a/../../x.nii", "/etc/passwd", "/", ".."])
def test_a_path_that_leaves_the_folder(tmp_path: Path, path: str) -> None:
    message = r"datalist '.*', training\[1\]: image: expected a path inside dataset_dir '.*', got '.*', which leaves it"
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, ["fine.nii", path])
    with pytest.raises(DatasetError, match=r"training\[0\]: label: expected a path inside"):
        load(tmp_path, [{"image": "fine.nii", "label": path}])


def test_a_link_that_leaves_the_folder(tmp_path: Path) -> None:
    outside, data = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    data.mkdir()
    (outside / "x.nii").touch()
    (data / "file.nii").symlink_to(outside / "x.nii")
    (data / "folder").symlink_to(outside)
    (data / "loop").symlink_to(data / "loop")
    for path in ("file.nii", "folder/x.nii", "loop/x.nii"):
        with pytest.raises(DatasetError, match="which leaves it|expected a file"):
            load(data, [path], check=True)


def test_a_dataset_dir_that_is_itself_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert load(tmp_path / "link", ["x.nii"])[0]["image"] == str(tmp_path / "link" / "x.nii")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected valid JSON"),
        ("[" * 100_000, "expected valid JSON"),
        ([], "expected a section 'training', got a list"),
        ({"testing": ["x.nii"]}, r"expected a section 'training', got \['testing'\]"),
        ({"training": []}, "expected a list of cases in section 'training', got an empty one"),
        ({"training": {}}, "expected a list of cases in section 'training', got a dict"),
    ],
)
def test_a_file_that_is_no_datalist(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DatasetError, match=rf"datalist '{path}': {message}"):
        load_datalist(path, "training", tmp_path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "datalist.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="expected valid JSON"):
        load_datalist(path, "training", tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (3, "expected a case with the key 'image', got 3"),
        ({"label": "x.nii"}, r"expected a case with the key 'image', got the keys \['label'\]"),
        ({"image": 3}, "image: expected the path of a file, got 3"),
        ({"image": ""}, "image: expected the path of a file, got ''"),
        ({"image": "a\0b"}, "image: expected the path of a file"),
        ({"image": "a.nii", "case": "../b"}, "expected a name that can be a folder's name"),
    ],
)
def test_malformed_entries(tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"training\[0\]: .*{message}"):
        load(tmp_path, [entry])


def test_all_problems_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        load(tmp_path, ["../x.nii", "fine.nii", 3, {"image": "a.nii", "case": "n"}, {"image": "b.nii", "case": "n"}])
    assert len(caught.value.problems) == 3
    assert "the name 'n' is used for 2 cases" in caught.value.problems[2]


@pytest.mark.parametrize("missing", ["datalist", "dataset_dir"])
def test_missing_data_name_the_command_that_makes_them(tmp_path: Path, missing: str) -> None:
    folder = tmp_path if missing == "datalist" else tmp_path / "none"
    message = rf"{missing} '.*nothing there; `ctp-stroke phantom --out FOLDER --cases 94` makes"
    with pytest.raises(FileNotFoundError, match=message):
        load_datalist(folder / "none.json", "training", folder)


def test_same_file_names_in_different_folders_get_different_case_names(tmp_path: Path) -> None:
    cases = load(tmp_path, ["a/ctp.nii", "b/ctp.nii", "other.nii"])
    assert [case["case"] for case in cases] == ["a_ctp", "b_ctp", "other"]


def test_a_folder_that_only_begins_like_a_case_of_isles_does_not_name_its_files(tmp_path: Path) -> None:
    cases = load(tmp_path, ["case_studies/A/ctp.nii", "case_studies/B/ctp.nii"])
    assert [case["case"] for case in cases] == ["case_studies_A_ctp", "case_studies_B_ctp"]


def test_names_that_are_one_folder_on_some_system_are_two(tmp_path: Path) -> None:
    cases = load(tmp_path, ["a/ctp.nii", "b/CTP.nii"])
    assert [case["case"] for case in cases] == ["a_ctp", "b_CTP"]
    with pytest.raises(DatasetError, match="the name 'A' is used for 2 cases"):
        load(tmp_path, [{"image": "x.nii", "case": "A"}, {"image": "y.nii", "case": "a"}])


def test_lengthened_names_are_refused_where_they_are_the_same_or_too_long(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the name 'a_b_c' is used for 2 cases"):
        load(tmp_path, ["a_b/c.nii", "a/b_c.nii", "d/c.nii", "d/b_c.nii"])
    with pytest.raises(DatasetError, match="more than 200"):
        load(tmp_path, [f"{'x' * 150}/{'y' * 60}.nii", f"{'z' * 150}/{'y' * 60}.nii"])


def test_unknown_keys_are_dropped_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"ignored the unknown keys \['lable'\]"):
        (loaded,) = load(tmp_path, [{"image": "x.nii", "lable": "y.nii", "fold": 2}])
    assert loaded == {"case": "x", "image": str(tmp_path / "x.nii"), "fold": 2}


def test_headers_are_checked_by_default(tmp_path: Path, case: dict[str, Any]) -> None:
    path = write(tmp_path, {"training": [case]})
    assert load_datalist(path, "training", tmp_path) == [case]
    path = write(tmp_path, {"training": [case, {"image": "none.nii"}]})
    with pytest.raises(DatasetError, match=r"case 'none', image '.*none\.nii': expected a file"):
        load_datalist(path, "training", tmp_path)


def test_written_datalist_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "lists" / "datalist.json"
    write_datalist(path, {"training": [{"case": "a", "image": "a.nii"}], "testing": []})
    assert path.read_text().startswith('{\n    "training": [\n        {\n            "case": "a"')
    assert load_datalist(path, "training", tmp_path, check=False)[0]["case"] == "a"
