"""Pack the bundle into one archive, the same to the byte wherever it is made, and check such an archive."""

import argparse
import hashlib
import json
import stat
import subprocess
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from scripts.io import atomic_path, write_json

from .steps import ROOT

HELP = "write the archive that users download, its checksum and its manifest"

BUNDLE_NAME = "ctp_stroke_lesion_segmentation"
PARTS = ("LICENSE", "configs", "docs", "models", "scripts")
"""All that an archive holds."""
PROVENANCE = "models/provenance.json"
"""What the weights that ship were trained on, and which weights it speaks of."""

TIME = (1980, 1, 1, 0, 0, 0)
MODE = stat.S_IFREG | 0o644

MAX_MANIFEST_BYTES = 16 << 20
"""The largest manifest that is read: a line of 150 bytes a file, for a hundred thousand files (a choice)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the archive; default: dist")
    parser.add_argument("--check", type=Path, metavar="ARCHIVE", help="check an archive against the manifest beside it")


def run(args: argparse.Namespace) -> None:
    """Write an archive with its checksum and manifest, or check one."""
    archive = args.check or package(ROOT, args.out)
    manifest = check(archive)
    print(f"{archive}: version {manifest['version']}, {len(manifest['files'])} files, SHA-256 {manifest['sha256']}")


def package(root: Path, out: Path) -> Path:
    """Write `<name>_v<version>.zip`, `.zip.sha256` (for `sha256sum --check`) and `.json`, the manifest.

    Args:
        root: folder of the bundle.
        out: folder for the three files.

    Returns:
        The archive.

    Raises:
        ValueError: `models/provenance.json` speaks of other weights.
    """
    version = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    provenance = read_provenance(root)
    archive = out / f"{BUNDLE_NAME}_v{version}.zip"
    with atomic_path(archive) as temporary:
        write_archive(root, temporary)
        manifest = {
            "name": BUNDLE_NAME,
            "version": version,
            "archive": archive.name,
            "bytes": temporary.stat().st_size,
            "sha256": sha256(temporary),
            "files": read_archive(temporary),
            "provenance": provenance,
        }
    write_json(archive.with_suffix(".json"), manifest)
    with atomic_path(f"{archive}.sha256") as temporary:
        temporary.write_text(f"{manifest['sha256']}  {archive.name}\n", encoding="utf-8")
    return archive


def shipped_files(root: Path) -> list[Path]:
    """The files of a bundle that ship, in the order of their names.

    In a git repository they are those that git tracks: a training leaves files in `models`, too. Elsewhere, as in an
    unpacked archive, they are all but hidden files and what Python compiles.
    """
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z", "--", *PARTS]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        names = [name for name in listed.split("\0") if name]
    else:
        paths = [path for part in PARTS for path in (root / part, *(root / part).rglob("*")) if path.is_file()]
        names = [path.relative_to(root).as_posix() for path in paths]
        names = [name for name in names if not any(p.startswith((".", "__pycache__")) for p in name.split("/"))]
    return [root / name for name in sorted(names)]


def read_provenance(root: Path) -> dict[str, Any]:
    """What the weights were trained on.

    Raises:
        ValueError: it is told of other weights than those of the bundle.
    """
    provenance = json.loads((root / PROVENANCE).read_text(encoding="utf-8"))
    told, found = provenance["weights"]["sha256"], sha256(root / provenance["weights"]["file"])
    if told != found:
        raise ValueError(f"{PROVENANCE}: expected it to tell of the weights with SHA-256 {found}, it tells of {told}")
    return provenance


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_archive(root: Path, path: Path) -> None:
    """Write the shipped files under one folder that has the bundle's name.

    The bytes depend on nothing but names and contents: the order is fixed, so are times and modes, and nothing is
    compressed, because implementations of deflate differ in their output. The weights would hardly shrink.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in shipped_files(root):
            member = zipfile.ZipInfo(f"{BUNDLE_NAME}/{file.relative_to(root).as_posix()}", TIME)
            member.create_system = 3  # Unix, on every system: modes are read as such
            member.external_attr = MODE << 16
            archive.writestr(member, file.read_bytes())


def read_archive(path: Path) -> dict[str, str]:
    """The SHA-256 of each file of an archive by its name below the archive's folder; nothing is unpacked.

    Raises:
        ValueError: it is no archive, is damaged, or has a member that does not belong into one or is packed.
    """
    with path.open("rb"):
        pass  # a file that cannot be opened is told as such
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_sizes(path, members)
            names = [_checked_name(member) for member in members]
            doubled = sorted(name for name, count in Counter(names).items() if count > 1)
            if doubled:
                raise ValueError(f"archive '{path}': expected each name once, got more of {', '.join(doubled)}")
            return {name: _sha256_of(archive, member) for name, member in zip(names, members, strict=True)}
    except ValueError:
        raise
    except Exception as error:  # zipfile's own, and those of what a damaged directory leads it to
        raise ValueError(f"archive '{path}': expected a zip file, got {error or type(error).__name__}") from error


def _check_sizes(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Raise ValueError unless the members are stored as they are, so that none unpacks to more than is there."""
    size = path.stat().st_size
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if packed or sum(member.file_size for member in members) > size:
        got = f"{packed[0]!r} packed" if packed else f"members of more than its {size} bytes"
        raise ValueError(f"archive '{path}': expected files that are stored as they are, got {got}")


def _sha256_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """The SHA-256 of a member, read in pieces and to its end, which also checks its CRC."""
    digest = hashlib.sha256()
    with archive.open(member) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _checked_name(member: zipfile.ZipInfo) -> str:
    """The name of a member below the bundle's folder, if unpacking it writes one plain file there."""
    parts = PurePosixPath(member.filename).parts
    written = "/".join(parts)
    plain = written == member.orig_filename and ".." not in parts and "\\" not in written and ":" not in written
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not plain or kind not in (0, stat.S_IFREG) or len(parts) < 2 or parts[0] != BUNDLE_NAME or parts[1] not in PARTS:
        raise ValueError(
            f"archive member {member.orig_filename!r}: expected a file in '{BUNDLE_NAME}', "
            f"below {', '.join(PARTS)}, without '..' or a link"
        )
    return "/".join(parts[1:])


def check(archive: Path) -> dict[str, Any]:
    """The manifest beside an archive, after a comparison of the two.

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
    if sha256(archive) != manifest["sha256"]:
        raise ValueError(f"archive '{archive}': expected SHA-256 {manifest['sha256']}, got {sha256(archive)}")
    return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of an archive, with the entries that are looked at and of the kinds that they have.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"manifest '{path}': expected a JSON file beside the archive, got nothing there")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"manifest '{path}': expected at most {MAX_MANIFEST_BYTES} bytes, got {path.stat().st_size}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"manifest '{path}': expected JSON, got {error}") from error
    kinds = {"version": str, "sha256": str, "files": dict}
    found = manifest if isinstance(manifest, dict) else {}
    wrong = [key for key, kind in kinds.items() if not isinstance(found.get(key), kind)]
    if wrong or not all(isinstance(digest, str) for digest in found["files"].values()):
        names = ", ".join(wrong or ["files"])
        raise ValueError(f"manifest '{path}': expected the version, the SHA-256 and that of each file, got no {names}")
    return found
