import subprocess
from pathlib import Path

import pytest

from bundle import provenance
from bundle.provenance import check_clean, code_digest, commit


def write(root: Path, text: str, name: str = "losses/dice.py") -> str:
    """The digest of a repository with this file."""
    (root / "scripts" / name).parent.mkdir(parents=True, exist_ok=True)
    (root / "scripts" / name).write_text(text)
    return code_digest(root)


def test_the_digest_of_the_code_is_of_what_it_does(tmp_path: Path) -> None:
    first = write(tmp_path, '"""Dice."""\n\n\ndef dice(a):\n    """Of a."""\n    return 2 * a\n')
    assert write(tmp_path, "# In other words.\ndef dice(a):\n    'Of a.'\n    return (2 * a)\n") == first
    assert write(tmp_path, "def dice(a):\n    return 3 * a\n") != first
    before = code_digest(tmp_path)
    assert write(tmp_path, "x = 1\n", "dicom/reader.py") == before  # no run imports it
    assert write(tmp_path, "x = 1\n", "losses/new.py") != before


def test_a_commit_is_dirty_by_its_code_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "DOCS", tmp_path / "docs")
    assert commit() == "unknown"
    git("init")
    write(tmp_path, "x = 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    clean = commit()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("a page")
    assert commit() == clean
    write(tmp_path, "x = 2\n", "losses/untracked.py")
    assert commit() == f"{clean}-dirty"
    check_clean(tmp_path / "docs", clean)
    check_clean(tmp_path / "elsewhere", commit())
    with pytest.raises(ValueError, match=rf"expected a clean commit of scripts, bundle, configs, got {clean}-dirty"):
        check_clean(tmp_path / "docs" / "results.md", commit())
