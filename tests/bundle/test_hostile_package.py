"""Archives and manifests from elsewhere cost `package --check` neither memory nor a traceback: none is opened."""

import hashlib
import json
import tracemalloc

import pytest

from bundle import package
from bundle.__main__ import main
from tests.robustness.archives import MANIFESTS, archive, hostile

HOSTILE = hostile()
SHA256 = hashlib.sha256(archive()).hexdigest()


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_archive_is_one_clear_line(fault, tmp_path, capsys):
    path = tmp_path / "x.zip"
    path.write_bytes(HOSTILE[fault])
    (tmp_path / "x.json").write_text(json.dumps({"version": "1", "sha256": SHA256, "files": {}}))
    tracemalloc.start()
    try:
        assert main(["package", "--check", str(path)]) == 2
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    error = capsys.readouterr().err
    assert error.startswith(f"error: archive '{path}': expected SHA-256 {SHA256}, got ")
    assert error.count("\n") == 1
    assert peak < 4e6


@pytest.mark.parametrize("fault", MANIFESTS)
def test_a_damaged_manifest_is_one_clear_line(fault, tmp_path, capsys):
    (tmp_path / "x.zip").write_bytes(archive())
    (tmp_path / "x.json").write_bytes(MANIFESTS[fault])
    assert main(["package", "--check", str(tmp_path / "x.zip")]) == 2
    error = capsys.readouterr().err
    assert error.startswith((f"error: manifest '{tmp_path / 'x.json'}': expected ", f"error: archive '{tmp_path}"))
    assert error.count("\n") == 1


def test_a_manifest_that_is_not_there_or_has_no_end_is_named(tmp_path):
    (tmp_path / "x.zip").write_bytes(archive())
    with pytest.raises(FileNotFoundError, match=r"manifest '.*x.json': expected a JSON file next to the archive"):
        package.check(tmp_path / "x.zip")
    with (tmp_path / "x.json").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"manifest '.*x.json': expected at most 16777216 bytes"):
        package.check(tmp_path / "x.zip")
