"""What a campaign counts: one outcome for each damaged input, and the table of all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import nibabel as nib
import numpy as np
import torch

from scripts.cli import main
from scripts.io.case import load_case
from scripts.io.errors import CLEAR_ERRORS
from tests.perfusion.test_gate import Examination, phantom

T = TypeVar("T")

ERROR, WARNING, NEAR, UNTOLD = "error", "warning", "near", "cannot be told"
SILENT, TRACEBACK, LOST = "silent wrong", "raw traceback", "lost"
OUTCOMES = (ERROR, WARNING, NEAR, UNTOLD, SILENT, TRACEBACK, LOST)
FAILURES = (SILENT, TRACEBACK, LOST)

NEAR_ML, NEAR_SHARE = 5.0, 0.2
"""A result is near where each volume differs by at most so many ml, or this share of it (a choice)."""

EXAMPLES = int(os.environ.get("ROBUSTNESS_EXAMPLES", "4"))
"""Inputs of each kind: a few in `make test`, hundreds in `make test-robustness`."""


class Verdict(NamedTuple):
    """What came of one input."""

    outcome: str
    said: str


def some(inputs: Sequence[T], count: int = EXAMPLES) -> list[T]:
    """So many of the inputs, spread evenly, the first among them."""
    return [inputs[index * len(inputs) // count] for index in range(count)] if count < len(inputs) else list(inputs)


def table(counts: Counter[tuple[str, str]]) -> str:
    """Kinds by outcomes in Markdown, with the sums."""
    kinds = sorted({kind for kind, _ in counts})
    rows = [(kind, [counts[kind, outcome] for outcome in OUTCOMES]) for kind in kinds]
    rows.append(("all", [sum(numbers) for numbers in zip(*(numbers for _, numbers in rows), strict=True)]))
    lines = [f"| kind | inputs | {' | '.join(OUTCOMES)} |", "|---|" + "---:|" * (len(OUTCOMES) + 1)]
    lines += [f"| {kind} | {sum(numbers)} | {' | '.join(map(str, numbers))} |" for kind, numbers in rows]
    return "\n".join(lines)


def of_error(error: Exception, named: Iterable[object]) -> Verdict:
    """Whether an exception is one clear line that names what it is about."""
    lines = str(error).splitlines()
    clear = isinstance(error, (*CLEAR_ERRORS, ValueError)) and (len(lines) == 1 or "problems:" in lines[0])
    clear = clear and any(str(name) in str(error) for name in named)
    return Verdict(ERROR if clear else TRACEBACK, f"{type(error).__name__}: {error}")


def digests(folder: Path) -> dict[str, str]:
    """What lies in a folder and below, by path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class Base:
    """An honest series, what the command finds in it, and what it finds in damaged ones.

    A phantom of 4 slices of 64 x 64 pixels, with Tmax above 6 s in about 115 ml of the right side alone. Its
    warnings are those of its coarse pixels and of a small core.

    Args:
        folder: for the files.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.case: Examination = phantom(18, 64)
        series = folder / "base.nii"
        series.write_bytes(nifti(self.case))
        self.bytes = series.read_bytes()
        self.loaded = load_case({"image": series})
        found, said = command(series, folder / "base")
        assert found is not None, said
        self.found = found
        assert names(found) == {"pixel", "uncertain_core"}

    def judge(self, content: bytes, name: str = "ctp.nii", options: Sequence[str] = ()) -> Verdict:
        """What the command makes of a file, in a folder with an earlier result and a file of somebody's."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.folder / "base", work / "out")
        (work / "out" / "notes.txt").write_text("foreign")
        series = work / name
        series.write_bytes(content)
        before = digests(work)
        if not options and self._same(series):
            return Verdict(NEAR, "the same series")
        try:
            found, said = command(series, work / "out", *options)
        except Exception as error:
            return Verdict(TRACEBACK, repr(error))
        after = digests(work)
        kept = before if found is None else {key: before[key] for key in (name, "out/notes.txt")}
        if not kept.items() <= after.items() or (found is None and after != before):
            return Verdict(LOST, said)
        if found is None:
            clear = said.count("\n") <= 1 and (str(series) in said or any(option in said for option in options))
            return Verdict(ERROR if clear else TRACEBACK, said)
        told = names(found) - names(self.found)
        if told:
            return Verdict(WARNING, ", ".join(sorted(told)))
        return Verdict(NEAR if near(self.found, found) else SILENT, volumes(found))

    def _same(self, series: Path) -> bool:
        """Whether a file holds the base's voxels, places and times: the result is then the same, too."""
        try:
            loaded = load_case({"image": series})
        except Exception:
            return False
        keys = ("frame_times", "warnings")
        same = all(loaded[key] == self.loaded[key] for key in keys)
        return same and all(np.array_equal(loaded[key], self.loaded[key]) for key in ("image", "affine"))


def command(series: Path, out: Path, *options: str) -> tuple[dict[str, Any] | None, str]:
    """The summary that `ctp-stroke maps` writes, or None and the line that it ends with."""
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        if main(["maps", str(series), "--out", str(out), "--overwrite", *options]):
            return None, error.getvalue().split("error: ", 1)[-1]
    return json.loads((out / "summary.json").read_text(encoding="utf-8")), ""


def names(summary: dict[str, Any]) -> set[str]:
    """The names of all that a summary warns of."""
    return {finding["name"] for key in ("warnings", "cautions") for finding in summary[key]}


def volumes(summary: dict[str, Any]) -> str:
    """Side, core and hypoperfusion of a summary, in words."""
    return f"{summary['side']}, core {summary['core_ml']} ml, Tmax > 6 s {summary['tmax_ml']['6']} ml"


def near(expected: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether side, core and hypoperfusion of two summaries are the same within the stated distance."""
    pairs = [(expected["tmax_ml"]["6"], found["tmax_ml"]["6"]), (expected["core_ml"], found["core_ml"])]
    return expected["side"] == found["side"] and all(near_ml(*pair) for pair in pairs)


def near_ml(expected: float | None, found: float | None) -> bool:
    """Whether two volumes are the same within the stated distance; None is a volume that is not given."""
    if expected is None or found is None:
        return found is None
    return math.isfinite(found) and abs(found - expected) <= max(NEAR_ML, NEAR_SHARE * expected)


def nifti(case: Examination, time_unit: str = "sec", interval: float | None = None) -> bytes:
    """A series as an unpacked NIfTI file of float32 HU, whole numbers as a scanner's are."""
    stored = np.round(case.series.permute(1, 2, 3, 0).numpy()).astype(np.float32)
    image = nib.Nifti1Image(stored, np.diag([*case.spacing_mm, 1.0]))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    image.header.set_xyzt_units("mm", time_unit)
    image.header["pixdim"][4] = case.dt_s if interval is None else interval
    stream = io.BytesIO()
    image.to_stream(stream)
    return stream.getvalue()


def tensor(values: Any) -> torch.Tensor:
    """An array as float32."""
    return torch.as_tensor(np.asarray(values, dtype=np.float32))
