"""BIDS-like folders: files named by entities, such as `sub-01_ses-02_space-ncct_dwi.nii.gz`, in any subfolders.

The suffix says what a file is: `ctp` (or `ctperf`, `perf`) the series, `cbf`, `cbv`, `mtt`, `tmax`, `dwi`; the label is
`lesion`, `lesion-msk` or `lesion-mask`, or `mask`, `msk`, `dseg` or `roi` with an entity `label-lesion` or
`desc-lesion`. Patterns such as `image=*_acq-perf_ct.nii.gz` replace these rules.

Each series is a case. Volumes belong to the series of their session; where a subject has one series only, to that one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..io.case import FILE_KEYS, LABEL_KEY, MAP_KEYS, SERIES_KEY, VOLUME_KEYS
from ..io.errors import DatasetError
from .found import Found, check, nifti_files, only_file

NAME = "bids"
SIGN = "sub-…"
SUFFIXES = {SERIES_KEY: ("ctp", "ctperf", "perf"), **{key: (key,) for key in (*MAP_KEYS, "dwi")}}
_LESIONS = ("lesion", "lesion-msk", "lesion-mask")
_MASKS = ("mask", "msk", "dseg", "roi")
_NAME = re.compile(r"(sub-[A-Za-z0-9]+(?:_[A-Za-z]+-[A-Za-z0-9]+)*)_([A-Za-z0-9-]+)\.nii(?:\.gz)?", re.IGNORECASE)
_DEPTH = 3


@dataclass(frozen=True)
class BidsFile:
    """A file named by entities: `suffix` in lower case; `session` "" if neither name nor folder has one."""

    path: Path
    entities: Mapping[str, str]
    suffix: str
    session: str

    @property
    def subject(self) -> str:
        """The value of the entity `sub`."""
        return self.entities["sub"]


def matches(root: Path) -> bool:
    """Whether there are folders `sub-…` in a folder, or in one of its folders."""
    return has_folders(root, re.compile(r"sub-[A-Za-z0-9]+"))


def has_folders(root: Path, name: re.Pattern[str]) -> bool:
    """Whether folders of a name lie in a folder or a few levels below, where hidden ones are left out."""
    level = [root]
    for _ in range(_DEPTH):
        level = [sub for folder in level for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith(".")]
        if any(name.fullmatch(folder.name) for folder in level):
            return True
    return False


def bids_files(root: Path) -> list[BidsFile]:
    """The files below a folder whose names are made of entities.

    Of a file that is there both compressed and not, the compressed one is taken.
    """
    files = []
    paths = list(nifti_files(root))
    known = set(paths)
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match is None or (path.suffix == ".nii" and path.with_name(path.name + ".gz") in known):
            continue
        entities = {k.lower(): v for k, _, v in (part.partition("-") for part in match[1].split("_"))}
        folder = next((part[4:] for part in reversed(path.parts[:-1]) if part.startswith("ses-")), "")
        files.append(BidsFile(path, entities, match[2].lower(), entities.get("ses", folder)))
    return files


def find(root: Path, patterns: Mapping[str, str] | None = None) -> Found:
    """Find and check the cases, ordered by subject and session.

    Args:
        root: the folder of the data set.
        patterns: by key (`image`, `cbf`, …, `label`), a pattern with `*` of the file's name or its path below `root`.

    Raises:
        DatasetError: no file is named by entities.
    """
    found = Found([])
    by_subject: dict[str, dict[str, list[BidsFile]]] = {}
    for file in bids_files(root):
        key = _key_of(file, root, patterns or {})
        if key is not None:
            by_subject.setdefault(file.subject, {k: [] for k in FILE_KEYS})[key].append(file)
    if not by_subject:
        raise DatasetError(f"root '{root}': expected files such as sub-01_ctp.nii.gz, got none")
    for subject, files in sorted(by_subject.items()):
        sessions = sorted({file.session for file in files[SERIES_KEY]}) or [""]
        for session in sessions:
            name = f"sub-{subject}" + (f"_ses-{session}" if len(sessions) > 1 and session else "")
            case: dict[str, Any] = {"case": name, "subject": f"sub-{subject}"}
            for key in (SERIES_KEY, *VOLUME_KEYS):
                own = [f.path for f in files[key] if len(sessions) == 1 or f.session == session]
                path = only_file(found, name, key, _what(key, patterns or {}), own, needed=key == SERIES_KEY)
                if path is not None:
                    case[key] = str(path)
            found.cases.append(case)
    return check(found, one_grid=False)


def _key_of(file: BidsFile, root: Path, patterns: Mapping[str, str]) -> str | None:
    relative = file.path.relative_to(root).as_posix()
    for key, pattern in patterns.items():
        if fnmatch(file.path.name, pattern) or fnmatch(relative, pattern):
            return key
    known = next((key for key, suffixes in SUFFIXES.items() if file.suffix in suffixes), None)
    marked = any("lesion" in file.entities.get(entity, "").lower() for entity in ("label", "desc"))
    if file.suffix in _LESIONS or (file.suffix in _MASKS and marked):
        known = LABEL_KEY
    return None if known in patterns else known


def _what(key: str, patterns: Mapping[str, str]) -> str:
    return patterns.get(key) or (f"_{SUFFIXES[key][0]}" if key in SUFFIXES else "lesion mask")
