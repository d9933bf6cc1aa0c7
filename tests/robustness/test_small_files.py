"""Hostile and damaged datalists, tables of patients, archives and checkpoints."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle import package
from scripts.io.datalist import load_datalist
from scripts.io.subjects import subjects_from_table
from scripts.networks import StrokeLesionNet
from scripts.workflow.weights import read_weights

from . import archives, checkpoints, tables
from .campaign import EXAMPLES, LOST, NEAR, SILENT, WARNING, Base, Verdict, digests, of_error, some
from .series import generator

Count = Callable[[str, str, Verdict], None]


def judged(read: Callable[[], Any], expected: Any, named: Iterable[object], folder: Path) -> Verdict:
    """What came of reading a file in a folder, of which nothing may be gone or changed."""
    before = digests(folder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = read()
        except Exception as error:
            verdict = of_error(error, named)
        else:
            verdict = Verdict(NEAR if found == expected else WARNING if told else SILENT, repr(found)[:200])
    return verdict if digests(folder) == before else Verdict(LOST, verdict.said)


@pytest.fixture(scope="module")
def dataset(base: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[dict[str, Any]]]:
    """A folder of two series, a datalist of them, and what it is read as."""
    folder = tmp_path_factory.mktemp("dataset")
    for name in "ab":
        (folder / f"{name}.nii").write_bytes(base.bytes)
    entries = [{"image": "a.nii", "case": "one", "subject": "A"}, {"image": "b.nii", "case": "two", "subject": "B"}]
    content = json.dumps({"testing": entries}).encode()
    (folder / "list.json").write_bytes(content)
    return folder, content, load_datalist(folder / "list.json", "testing", folder)


def entry(**changes: object) -> bytes:
    return json.dumps({"testing": [{"image": "a.nii", **changes}]}).encode()


def usable(cases: list[dict[str, Any]], folder: Path) -> bool:
    """Whether every case has a name, and files of the folder."""
    named = all(isinstance(case["case"], (str, int)) and str(case["case"]) for case in cases)
    return named and all(Path(case["image"]).parent == folder and Path(case["image"]).is_file() for case in cases)


DATALISTS: dict[str, bytes] = {
    "empty": b"",
    "text": b"<html>",
    "UTF-16": '{"testing": ["a.nii"]}'.encode("utf-16"),
    "Latin-1": '{"testing": ["ü.nii"]}'.encode("latin-1"),
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "no section": b"{}",
    "an empty section": b'{"testing": []}',
    "a section of text": b'{"testing": "a.nii"}',
    "a digit of 5000": b'{"testing": [' + b"9" * 5000 + b"]}",
    "NaN": b'{"testing": [NaN]}',
    "a null in it": b'{"testing": [null]}',
    "two alike": b'{"testing": ["a.nii", "a.nii"]}',
    **{
        f"image {value!r:.30}": entry(image=value)
        for value in ("../a.nii", "/etc/passwd", "", "\0", 1, [], {}, True, "c.nii", "a" * 5000, "$a", ".", "list.json")
    },
    **{
        f"case {value!r:.30}": entry(case=value)
        for value in ("", ".", "..", "a/b", "\0", "a" * 300, "\ud800", 1, [], "cases.csv", "CON", "\u202egnp", " ", "-")
    },
    **{f"orientation {value!r}": entry(orientation=value) for value in ("RR", "", 1, [], "LPS", "ras")},
    **{f"tmax {value!r}": entry(tmax=value) for value in ("a.nii", "b.nii", "c.nii", 1, "..")},
    "an unknown key": entry(imgae="a.nii"),
}


@pytest.mark.parametrize("name", some(list(DATALISTS)))
def test_a_hostile_datalist(name: str, dataset: tuple, count: Count) -> None:
    folder, _, expected = dataset
    path = folder / "hostile.json"
    path.write_bytes(DATALISTS[name])
    named = ("hostile.json", "case ", "a.nii", "b.nii", "c.nii")
    verdict = judged(lambda: load_datalist(path, "testing", folder), expected, named, folder)
    if verdict.outcome == SILENT:  # it says something else than the honest one; what it says is all that can be judged
        verdict = verdict._replace(outcome=NEAR if usable(load_datalist(path, "testing", folder), folder) else SILENT)
    path.unlink()
    count("datalist", name, verdict)


@pytest.mark.parametrize("number", some(range(60)))
def test_a_datalist_with_another_byte(number: int, dataset: tuple, count: Count) -> None:
    folder, content, expected = dataset
    path = folder / "hostile.json"
    random = generator(f"datalist {number}")
    place = int(random.integers(len(content)))
    path.write_bytes(checkpoints.flipped(content, place, int(random.integers(8))))
    keys = ("hostile.json", "case ", ".nii")
    verdict = judged(lambda: load_datalist(path, "testing", folder), expected, keys, folder)
    if verdict.outcome == SILENT:  # a name is another name: it is what is written there
        verdict = verdict._replace(outcome=NEAR if usable(load_datalist(path, "testing", folder), folder) else SILENT)
    path.unlink()
    count("datalist", f"byte {place}", verdict)


PATIENTS = b"case,subject\ncase_1,A\ncase_2,A\ncase_3,B\n"


def patients_verdict(content: bytes, folder: Path) -> Verdict:
    path = folder / "patients.csv"
    path.write_bytes(content)
    names = ["case_1", "case_2", "case_3"]
    return judged(lambda: subjects_from_table(path, names), ["A", "A", "B"], ["patients.csv"], folder)


@pytest.mark.parametrize("name", some(list(tables.HOSTILE)))
def test_a_hostile_table_of_patients(name: str, tmp_path: Path, count: Count) -> None:
    count("patients", name, patients_verdict(tables.HOSTILE[name], tmp_path))


@settings(max_examples=min(EXAMPLES, 40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(PATIENTS) - 1), damage=st.binary(max_size=4))
def test_a_table_with_other_bytes(place: int, damage: bytes, tmp_path: Path, count: Count) -> None:
    verdict = patients_verdict(PATIENTS[:place] + damage + PATIENTS[place + len(damage) :], tmp_path)
    if verdict.outcome == SILENT:  # a subject of another name; which cases share one is what counts
        found = subjects_from_table(tmp_path / "patients.csv", ["case_1", "case_2", "case_3"])
        verdict = verdict._replace(outcome=NEAR if all(found) else SILENT)
    count("patients", f"{damage!r} at {place}", verdict)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a small archive with its manifest."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "x.zip").write_bytes(archives.archive())
    files = {"LICENSE": hashlib.sha256(b"text").hexdigest()}
    manifest = {"version": "1", "sha256": package.sha256(folder / "x.zip"), "files": files}
    (folder / "x.json").write_text(json.dumps(manifest))
    package.check(folder / "x.zip")
    return folder


ARCHIVES = [
    *(("archive", name, content) for name, content in archives.hostile().items()),
    *(("manifest", name, content) for name, content in archives.MANIFESTS.items()),
    *(("archive", f"byte {place}", place) for place in range(0, 260, 5)),
    *(("manifest", f"byte {place}", place) for place in range(0, 190, 5)),
]


@pytest.mark.parametrize(("part", "name", "damage"), some(ARCHIVES), ids=lambda value: str(value)[:30])
def test_a_hostile_archive(
    part: str, name: str, damage: bytes | int, packed: Path, tmp_path: Path, count: Count
) -> None:
    folder = shutil.copytree(packed, tmp_path / "x")
    path = folder / ("x.zip" if part == "archive" else "x.json")
    expected = package.check(folder / "x.zip")["files"]
    path.write_bytes(checkpoints.flipped(path.read_bytes(), damage, damage % 8) if isinstance(damage, int) else damage)
    verdict = judged(lambda: package.check(folder / "x.zip")["files"], expected, ["x.zip", "x.json", "member"], folder)
    count("archive", f"{part}, {name}", verdict)


CHECKPOINTS = [*checkpoints.hostile(StrokeLesionNet((2, 2, 4, 4, 4)).state_dict(), Path("mark")), *range(50)]


@pytest.mark.parametrize("damage", some(CHECKPOINTS))
def test_a_hostile_checkpoint(damage: str | int, tmp_path: Path, count: Count) -> None:
    torch.manual_seed(0)
    network = StrokeLesionNet((2, 2, 4, 4, 4))
    state, mark = network.state_dict(), tmp_path / "mark"
    if isinstance(damage, str):
        content = checkpoints.hostile(state, mark)[damage]
    else:
        content = checkpoints.saved(state)
        content = checkpoints.flipped(content, damage * len(content) // 50, damage % 8)
    (tmp_path / "own.pt").write_bytes(content)

    def same() -> bool:
        found = read_weights(tmp_path / "own.pt", network)
        return all(torch.equal(found[key], value) for key, value in state.items())

    count("checkpoint", str(damage), judged(same, True, ["own.pt"], tmp_path))
