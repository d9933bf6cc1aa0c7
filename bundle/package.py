"""Pack the bundle into one archive by `git archive`, and check such an archive before it is unpacked."""

import argparse
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from scripts.io import atomic_path, write_json

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
        files, digest, size = read_archive(temporary), sha256(temporary), temporary.stat().st_size
    manifest = {"name": BUNDLE_NAME, "version": version, "archive": archive.name, "bytes": size, "sha256": digest}
    write_json(archive.with_suffix(".json"), {**manifest, "files": files, "provenance": provenance})
    with atomic_path(f"{archive}.sha256") as temporary:
        temporary.write_text(f"{digest}  {archive.name}\n", encoding="utf-8")
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
    else:
        paths = [path for part in PARTS for path in (root / part, *(root / part).rglob("*")) if path.is_file()]
        names = [path.relative_to(root).as_posix() for path in paths]
        names = [name for name in names if not any(p.startswith((".", "__pycache__")) for p in name.split("/"))]
    return [root / name for name in sorted(names)]


def read_provenance(root: Path) -> dict[str, Any]:
    """What the weights were trained on.

    Raises:
        ValueError: the hash that it records is not that of the weights of the bundle.
    """
    provenance = json.loads((root / PROVENANCE).read_text(encoding="utf-8"))
    recorded, found = provenance["weights"]["sha256"], sha256(root / provenance["weights"]["file"])
    if recorded != found:
        raise ValueError(f"{PROVENANCE}: records SHA-256 {recorded}, but {provenance['weights']['file']} has {found}")
    return provenance


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_archive(path: Path) -> dict[str, str]:
    """The SHA-256 of each file of an archive by its name below the archive's folder; nothing is unpacked.

    Raises:
        ValueError: it is no archive, is damaged, or has a member that does not belong into one or is packed.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
            if packed or sum(member.file_size for member in members) > size:  # none unpacks to more than is there
                got = f"{packed[0]!r} packed" if packed else f"members of more than its {size} bytes"
                raise ValueError(f"archive '{path}': expected files that are stored as they are, got {got}")
            names = {member: _checked_name(member) for member in members}
            doubled = sorted(name for name, count in Counter(names.values()).items() if count > 1)
            if doubled:
                raise ValueError(f"archive '{path}': expected each name once, got more of {', '.join(doubled)}")
            return {name: _sha256_of(archive, member) for member, name in names.items() if not member.is_dir()}
    except ValueError:
        raise
    except Exception as error:  # zipfile's own, and those of what a damaged directory leads it to
        raise ValueError(f"archive '{path}': expected a zip file, got {error or type(error).__name__}") from error


def _sha256_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """The SHA-256 of a member, read in pieces and to its end, which also checks its CRC."""
    digest = hashlib.sha256()
    with archive.open(member) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _checked_name(member: zipfile.ZipInfo) -> str:
    """The name of a member below the bundle's folder, if unpacking it writes one plain file or folder there."""
    parts = PurePosixPath(member.filename).parts
    written = "/".join(parts) + "/" * member.is_dir()
    plain = written == member.orig_filename and ".." not in parts and "\\" not in written and ":" not in written
    kinds = (0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG)
    inside = parts[:1] == (BUNDLE_NAME,) and (parts[1] in PARTS if len(parts) > 1 else member.is_dir())
    empty = not member.is_dir() or member.file_size == 0
    if not (plain and inside and empty and stat.S_IFMT(member.external_attr >> 16) in kinds):
        raise ValueError(
            f"archive member {member.orig_filename!r}: expected a file in '{BUNDLE_NAME}', "
            f"below {', '.join(PARTS)}, without '..' or a link"
        )
    return "/".join(parts[1:])


def check(archive: Path) -> dict[str, Any]:
    """The manifest next to an archive, after a comparison of the two.

    Raises:
        ValueError: they differ, or the archive is unsafe.
    """
    files = read_archive(archive)
    path = archive.with_suffix(".json")
    manifest = _read_manifest(path)
    different = sorted({name for name, _ in files.items() ^ manifest["files"].items()})
    if different:
        raise ValueError(
            f"archive '{archive}': expected the files of {path.name}, these differ: {', '.join(different)}"
        )
    if (found := sha256(archive)) != manifest["sha256"]:
        raise ValueError(f"archive '{archive}': expected SHA-256 {manifest['sha256']}, got {found}")
    return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of an archive, with the entries that are looked at and of the kinds that they have."""
    if not path.is_file():
        raise FileNotFoundError(f"manifest '{path}': expected a JSON file next to the archive, got nothing there")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"manifest '{path}': expected at most {MAX_MANIFEST_BYTES} bytes, got {path.stat().st_size}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"manifest '{path}': expected JSON, got {error}") from error
    found = manifest if isinstance(manifest, dict) else {}
    wrong = [
        key for key, kind in {"version": str, "sha256": str, "files": dict}.items() if type(found.get(key)) is not kind
    ]
    if wrong or not all(isinstance(digest, str) for digest in found["files"].values()):
        names = ", ".join(wrong or ["files"])
        raise ValueError(f"manifest '{path}': expected the version, the SHA-256 and that of each file, got no {names}")
    return found
