"""Pack the bundle into one archive by `git archive`, and compare an archive with its manifest."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from scripts.io import atomic_path, write_json
from scripts.io.origin import sha256

from .markdown import write_text
from .provenance import ROOT

HELP = "write the archive that users download, its checksum and its manifest"

BUNDLE_NAME = "ctp_stroke_lesion_segmentation"
PARTS = ("LICENSE", "configs", "docs", "models", "scripts")
"""All that an archive holds, as the zoo lays it out."""
PROVENANCE = "models/provenance.json"
"""What the weights that ship were trained on, and the hash of those weights."""
WHO = {f"GIT_{role}_{what}": "-" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
GIT = {"TZ": "UTC", **WHO, **{f"GIT_{role}_DATE": "1980-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")}}
MAX_MANIFEST_BYTES = 16 << 20
"""The largest manifest that is read: a line of 150 bytes a file, for a hundred thousand files (a choice)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the archive; default: dist")
    parser.add_argument("--check", type=Path, metavar="ARCHIVE", help="check an archive against its manifest")


def run(args: argparse.Namespace) -> None:
    """Write an archive with its checksum and manifest, or check one."""
    archive = args.check or package(ROOT, args.out)
    manifest = check(archive)
    print(f"{archive}: version {manifest['version']}, {len(manifest['files'])} files, SHA-256 {manifest['sha256']}")


def package(root: Path, out: Path) -> Path:
    """Write `<name>_v<version>.zip`, `.zip.sha256` (for `sha256sum --check`) and `.json`, the manifest.

    Args:
        root: folder of the bundle, a git repository; what it tracks is packed, as it is in the folder.
        out: folder for the three files.

    Returns:
        The archive.

    Raises:
        ValueError: the hash of the weights is not recorded in `models/provenance.json`, or there is no repository.
    """
    version = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    provenance = read_provenance(root)
    archive = out / f"{BUNDLE_NAME}_v{version}.zip"
    with atomic_path(archive) as temporary:
        _git_archive(root, temporary)
    files = {path.relative_to(root).as_posix(): sha256(path) for path in shipped_files(root)}
    manifest = {"name": BUNDLE_NAME, "version": version, "archive": archive.name, "bytes": archive.stat().st_size}
    manifest |= {"sha256": sha256(archive), "files": files, "provenance": provenance}
    write_json(archive.with_suffix(".json"), manifest)
    write_text(Path(f"{archive}.sha256"), f"{manifest['sha256']}  {archive.name}\n")
    return archive


def _git_archive(root: Path, path: Path) -> None:
    """Write the tracked files under one folder that has the bundle's name.

    The bytes depend on nothing but what is tracked: times are fixed, and nothing is compressed, because
    implementations of deflate differ in their output. The weights would hardly shrink.
    """
    with tempfile.TemporaryDirectory() as folder:  # for an index of our own: that of the repository stays as it is
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        shutil.copy(root / _git(root, "rev-parse", "--git-path", "index"), index["GIT_INDEX_FILE"])
        _git(root, "add", "--update", **index)
        tree = _git(root, "write-tree", **index)
    commit = _git(root, "commit-tree", "-m", BUNDLE_NAME, tree)  # on no branch; always the same of a tree
    _git(root, "archive", "--format=zip", "-0", f"--prefix={BUNDLE_NAME}/", f"--output={path}", commit, *PARTS)


def _git(root: Path, *arguments: str, **environment: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    env = {**os.environ, **GIT, **environment}
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if found.returncode:
        raise ValueError(
            f"bundle '{root}': expected a git repository with {', '.join(PARTS)}, got {found.stderr.strip()}"
        )
    return found.stdout.strip()


def shipped_files(root: Path) -> list[Path]:
    """The files of a bundle that ship, in the order of their names.

    In a git repository they are those that git tracks: a training run leaves files in `models`, too. Elsewhere, as in
    an unpacked archive, they are all but hidden files and what Python compiles.
    """
    if (root / ".git").exists():
        names = [name for name in _git(root, "ls-files", "-z", "--", *PARTS).split("\0") if name]
        return [root / name for name in sorted(names)]
    paths = [path for part in PARTS for path in (root / part, *(root / part).rglob("*")) if path.is_file()]
    hidden = [path for path in paths if any(p.startswith((".", "__pycache__")) for p in path.relative_to(root).parts)]
    return sorted(set(paths) - set(hidden))


def read_provenance(root: Path) -> dict[str, Any]:
    """What the weights were trained on.

    Raises:
        ValueError: the hash that it records is not that of the weights of the bundle.
    """
    provenance: dict[str, Any] = json.loads((root / PROVENANCE).read_text(encoding="utf-8"))
    recorded, found = provenance["weights"]["sha256"], sha256(root / provenance["weights"]["file"])
    if recorded != found:
        raise ValueError(f"{PROVENANCE}: records SHA-256 {recorded}, but {provenance['weights']['file']} has {found}")
    return provenance


def check(archive: Path) -> dict[str, Any]:
    """The manifest next to an archive, whose SHA-256 and files it has; nothing is unpacked.

    The SHA-256 of the whole is compared first: an archive from elsewhere is not even opened.

    Raises:
        FileNotFoundError: one of the two is not there.
        ValueError: they differ, or the manifest is none.
    """
    manifest = _read_manifest(archive.with_suffix(".json"))
    if (found := sha256(archive)) != manifest["sha256"]:
        raise ValueError(f"archive '{archive}': expected SHA-256 {manifest['sha256']}, got {found}")
    with zipfile.ZipFile(archive) as opened:
        files = {
            member.filename.partition("/")[2]: hashlib.sha256(opened.read(member)).hexdigest()
            for member in opened.infolist()
            if not member.is_dir()
        }
    if files != manifest["files"]:
        raise ValueError(f"manifest of '{archive}': expected the files of the archive and their SHA-256, got others")
    return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"manifest '{path}': expected a JSON file next to the archive, got nothing there")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"manifest '{path}': expected at most {MAX_MANIFEST_BYTES} bytes, got {path.stat().st_size}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"manifest '{path}': expected JSON, got {error}") from error
    if not (isinstance(manifest, dict) and {"version", "sha256", "files"} <= manifest.keys()):
        raise ValueError(f"manifest '{path}': expected the version, the SHA-256 and that of each file")
    return manifest
