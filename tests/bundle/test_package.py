"""The archive: what is in it, that it is the same to the byte, and that a changed one is refused."""

import hashlib
import json
import shutil
import subprocess
import zipfile

import pytest
import torch

from bundle import package
from bundle.__main__ import main
from scripts.networks import StrokeLesionNet
from tests.bundle.copied_bundle import as_repository, copy_bundle, edit_json
from tests.conftest import ROOT

NAME = package.BUNDLE_NAME


@pytest.fixture
def root(tmp_path):
    """A copy of the bundle with few bytes of weights, in a repository of its own."""
    root = copy_bundle(tmp_path / "bundle")
    (root / "models" / "model.pt").unlink()
    (root / "models" / "model.pt").write_bytes(b"weights")
    provenance = json.loads((root / package.PROVENANCE).read_text())
    digest = hashlib.sha256(b"weights").hexdigest()
    edit_json(root / package.PROVENANCE, weights=provenance["weights"] | {"sha256": digest})
    return as_repository(root)


def test_an_archive_holds_the_bundle_and_nothing_else(root, tmp_path):
    for stray in (
        "README.md",
        "data/case_1.nii",
        "bundle/plots.py",
        "scripts/__pycache__/a.pyc",
        "models/.model.pt.tmp",
    ):
        (root / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / stray).write_text("not of the bundle")
    archive = package.package(root, tmp_path / "dist")
    version = json.loads((root / "configs" / "metadata.json").read_text())["version"]
    assert archive.name == f"{NAME}_v{version}.zip"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
        names = opened.namelist()
    assert {name.split("/")[0] for name in names} == {NAME}
    assert {name.split("/")[1] for name in names} - {""} == {"LICENSE", "configs", "models", "docs", "scripts"}
    assert not any(
        "not of the bundle" in path.read_text()
        for path in (tmp_path / "unpacked").rglob("*.*")
        if path.suffix in (".py", ".md")
    )
    assert {"configs/metadata.json", "models/model.pt", "docs/README.md"} <= {name.partition("/")[2] for name in names}
    assert (tmp_path / "unpacked" / NAME / "models" / "model.pt").read_bytes() == b"weights"


def test_the_same_bytes_in_another_repository_at_another_time(root, tmp_path):
    first = package.package(root, tmp_path / "first").read_bytes()
    other = tmp_path / "elsewhere" / "bundle"
    for file in sorted(package.shipped_files(root), reverse=True):
        target = other / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    as_repository(other)
    (other / "scripts" / "__init__.py").touch()
    assert package.package(other, tmp_path / "second").read_bytes() == first
    with zipfile.ZipFile(next((tmp_path / "second").glob("*.zip"))) as archive:
        assert {(info.date_time, info.compress_type) for info in archive.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)
        }


def test_what_is_tracked_is_packed_as_it_is_in_the_folder(root, tmp_path):
    before = subprocess.run(
        ["git", "-C", str(root), "log", "--oneline", "--all"], capture_output=True, check=True
    ).stdout
    (root / "LICENSE").write_text("changed and not committed")
    with zipfile.ZipFile(package.package(root, tmp_path / "dist")) as archive:
        assert archive.read(f"{NAME}/LICENSE") == b"changed and not committed"
    after = subprocess.run(
        ["git", "-C", str(root), "log", "--oneline", "--all"], capture_output=True, check=True
    ).stdout
    assert before == after


def test_a_folder_that_is_no_repository(root, tmp_path):
    shutil.rmtree(root / ".git")
    with pytest.raises(ValueError, match=r"bundle '.*': expected a git repository with LICENSE, .*, got fatal: "):
        package.package(root, tmp_path / "dist")
    assert {path.name for path in package.shipped_files(root)} >= {"LICENSE", "metadata.json"}


def test_in_a_repository_what_git_tracks_is_packed(root):
    (root / "models" / "checkpoint_last.pt").write_bytes(b"a training was here")
    names = {path.relative_to(root).as_posix() for path in package.shipped_files(root)}
    assert "models/model.pt" in names
    assert "models/checkpoint_last.pt" not in names


def test_the_manifest_and_the_checksum(root, tmp_path, capsys):
    archive = package.package(root, tmp_path / "dist")
    manifest = json.loads((archive.with_suffix(".json")).read_text())
    assert manifest["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert manifest["bytes"] == archive.stat().st_size
    assert manifest["files"]["models/model.pt"] == hashlib.sha256(b"weights").hexdigest()
    assert manifest["provenance"]["data"]["patients"] == 0
    subprocess.run(["sha256sum", "--check", "--quiet", f"{archive.name}.sha256"], cwd=archive.parent, check=True)
    assert main(["package", "--check", str(archive)]) == 0
    assert manifest["sha256"] in capsys.readouterr().out


def test_an_archive_or_a_manifest_that_was_changed_is_refused(root, tmp_path):
    archive = package.package(root, tmp_path / "dist")
    data = archive.read_bytes()
    manifest = json.loads(archive.with_suffix(".json").read_text())
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(f"{NAME}/scripts/more.py", "")
    with pytest.raises(ValueError, match=f"expected SHA-256 {manifest['sha256']}, got [0-9a-f]+$"):
        package.check(archive)
    archive.write_bytes(data)
    assert package.check(archive) == manifest
    edit_json(archive.with_suffix(".json"), files=manifest["files"] | {"models/model.pt": "0"})
    with pytest.raises(ValueError, match=r"manifest of '.*\.zip': expected the files of the archive and their SHA-256"):
        package.check(archive)


def test_weights_whose_hash_is_not_recorded_are_not_packed(root, tmp_path):
    (root / "models" / "model.pt").write_bytes(b"other weights")
    with pytest.raises(ValueError, match="models/provenance.json: records SHA-256 [0-9a-f]+, but models/model.pt has"):
        package.package(root, tmp_path / "dist")
    assert not list(tmp_path.glob("dist/*"))


def test_the_provenance_is_that_of_the_weights_that_ship():
    provenance = package.read_provenance(ROOT)
    state = torch.load(ROOT / provenance["weights"]["file"], weights_only=True)
    StrokeLesionNet(provenance["weights"]["features"]).load_state_dict(state)
    page, makefile = (" ".join((ROOT / name).read_text().split()) for name in ("models/README.md", "Makefile"))
    for data in provenance["data"]["cohorts"]:
        counts = [data[f"{section}_cases"] for section in ("training", "validation", "test")]
        assert f"{counts[0]} training, {counts[1]} validation and {counts[2]} test cases, seed {data['seed']}" in page
        assert f"--split {'/'.join(map(str, counts))} --seed {data['seed']}" in data["command"]
        assert data["command"].partition(" --split")[2] in makefile
    for stage in provenance["training"]["stages"]:
        assert f"{stage['epochs']} epochs on pixels of {stage['pixel_mm']} mm" in page
        assert f"--seed {stage['seed']}" in makefile
        assert str(stage["validation_dice"]) in page
    assert provenance["inference_choices"]["command"] in page
