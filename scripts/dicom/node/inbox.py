"""The received instances: on the disk before the sender is told so, within limits, grouped by study."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...io.atomic import sync, temporary_path
from .identity import InstanceUIDs

CT_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}
"""What a perfusion series can consist of. Nothing else is kept: results that come back start nothing."""


class RefusedError(Exception):
    """An instance is beyond a limit; the message says which."""


@dataclass(frozen=True)
class Limits:
    """What may be received, in bytes and instances."""

    instance_bytes: int = 1 << 30
    study_bytes: int = 16 << 30
    study_instances: int = 20_000
    free_bytes: int = 2 << 30
    """Space that stays free on the file system."""


@dataclass
class _Contents:
    names: set[str] = field(default_factory=set)
    size: int = 0
    last_s: float = 0.0
    digest: str = ""
    """Of the names; empty until it is asked for."""

    def add(self, name: str, size: int, now_s: float) -> bool:
        """Note an instance; returns whether it was not there."""
        self.last_s = now_s
        if name in self.names:
            return False
        self.names.add(name)
        self.size += size
        self.digest = ""
        return True


class Inbox:
    """The instances in `folder`/incoming. Threads may call any method at any time.

    Args:
        folder: the node's folder.
        limits: what may be received.
        clock: seconds that only grow; the quiet time of all studies begins when this object is made.
    """

    def __init__(self, folder: Path, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._incoming, self._receiving, self._removed = (
            folder / name for name in ("incoming", "receiving", "removed")
        )
        for path in (self._receiving, self._removed):
            shutil.rmtree(path, ignore_errors=True)
        for path in (self._incoming, self._receiving, self._removed):
            path.mkdir(parents=True, exist_ok=True)
        sync(folder)
        self._clock = clock
        self._lock = threading.Lock()
        self._held_folder = folder / "held"
        self._held_folder.mkdir(exist_ok=True)
        self._held = {path.name for path in self._held_folder.iterdir()}
        self._studies = {path.name: self._contents(path) for path in self._incoming.iterdir() if path.is_dir()}

    def _contents(self, folder: Path) -> _Contents:
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".dcm")}
        return _Contents(set(sizes), sum(sizes.values()), self._clock())

    def store(self, uids: InstanceUIDs, parts: Iterable[bytes | memoryview]) -> bool:
        """Keep an instance; it is on the disk when this returns.

        The first of two instances with one SOP Instance UID is kept, as the UID says that they are the same.

        Args:
            uids: what it is; other objects than CT images are not kept.
            parts: the bytes of the file, one after the other.

        Returns:
            Whether it is a CT image that was not there.

        Raises:
            RefusedError: a limit.
            OSError: the disk.
        """
        if uids.sop_class not in CT_IMAGES:
            return False
        parts = list(parts)
        size = sum(memoryview(part).nbytes for part in parts)
        if self._is_there(uids):
            return False
        self._check(uids, size)
        with temporary_path(self._receiving) as temporary:
            with temporary.open("xb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            return self._commit(uids, temporary, size)

    def _is_there(self, uids: InstanceUIDs) -> bool:
        with self._lock:
            contents = self._studies.get(uids.study_key)
            if contents is None or uids.file_name not in contents.names:
                return False
            contents.last_s = self._clock()
            return True

    def _check(self, uids: InstanceUIDs, size: int) -> None:
        limits = self.limits
        with self._lock:
            contents = self._studies.get(uids.study_key, _Contents())
            count, total = len(contents.names), contents.size
        if size > limits.instance_bytes:
            raise RefusedError(f"an instance of {size} bytes; the limit is {limits.instance_bytes}")
        if count + 1 > limits.study_instances:
            raise RefusedError(f"the study has {count} instances, the limit")
        if total + size > limits.study_bytes:
            raise RefusedError(f"the study would have {total + size} bytes; the limit is {limits.study_bytes}")
        free = self.free_bytes()
        if free - size < limits.free_bytes:
            raise RefusedError(f"the disk has {free} bytes free; {limits.free_bytes} stay free")

    def _commit(self, uids: InstanceUIDs, temporary: Path, size: int) -> bool:
        study = self._incoming / uids.study_key
        with self._lock:
            if not study.is_dir():
                study.mkdir()
                sync(self._incoming)
            os.replace(temporary, study / uids.file_name)
            sync(study)
            contents = self._studies.setdefault(uids.study_key, _Contents())
            return contents.add(uids.file_name, size, self._clock())

    def studies(self) -> list[str]:
        """The studies of which something is there, without those that are held."""
        with self._lock:
            return sorted(key for key, contents in self._studies.items() if contents.names and key not in self._held)

    def hold(self, study: str) -> None:
        """Say that a study is incomplete until `release`, also after a restart."""
        (self._held_folder / study).touch()
        sync(self._held_folder)
        with self._lock:
            self._held.add(study)

    def release(self, study: str) -> None:
        """End `hold`."""
        (self._held_folder / study).unlink(missing_ok=True)
        sync(self._held_folder)
        with self._lock:
            self._held.discard(study)
            if study in self._studies:
                self._studies[study].last_s = self._clock()

    def held(self) -> list[str]:
        """The studies that are known to be incomplete."""
        with self._lock:
            return sorted(self._held)

    def count(self, study: str) -> int:
        """How many instances of a study are there."""
        with self._lock:
            contents = self._studies.get(study)
            return len(contents.names) if contents else 0

    def quiet_s(self, study: str) -> float:
        """Seconds since an instance of a study came."""
        with self._lock:
            contents = self._studies.get(study)
            return self._clock() - contents.last_s if contents else 0.0

    def digest(self, study: str) -> str:
        """A hash of which instances of a study are there; empty if none."""
        with self._lock:
            contents = self._studies.get(study)
            if contents is None:
                return ""
            contents.digest = contents.digest or _digest(contents.names)
            return contents.digest

    def snapshot(self, study: str, folder: Path) -> str:
        """Put the instances that are there now into a new folder, as hard links; returns their digest.

        What comes later does not get into it, so that the processing sees exactly what the digest says.
        """
        with self._lock:
            names = set(self._studies[study].names)
        folder.mkdir(parents=True)
        for name in sorted(names):
            try:
                os.link(self._incoming / study / name, folder / name)
            except OSError:  # a file system without hard links
                shutil.copyfile(self._incoming / study / name, folder / name)
        return _digest(names)

    def remove(self, study: str, digest: str) -> bool:
        """Remove the instances of a study; False, and nothing is removed, if they are not those of `digest`."""
        with self._lock:
            contents = self._studies.get(study)
            if contents is not None:
                if _digest(contents.names) != digest:
                    return False
                os.replace(self._incoming / study, self._removed / f"{study}-{time.time_ns()}")
                sync(self._incoming)
                del self._studies[study]
        shutil.rmtree(self._removed, ignore_errors=True)
        self._removed.mkdir(exist_ok=True)
        return True

    def free_bytes(self) -> int:
        """What is free on the file system."""
        return shutil.disk_usage(self._incoming).free


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]
