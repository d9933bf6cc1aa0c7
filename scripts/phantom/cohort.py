"""Data sets: the plan of the cases, their seeds, and writing them with several processes."""

from __future__ import annotations

import csv
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..datasets.isles2018 import find_cases
from ..io.atomic import atomic_path, write_json
from ..io.datalist import SECTIONS, write_datalist
from .case import sample_patient, sample_scan, simulate_case
from .parameters import FIELD_OF_VIEW_PIXELS, ScanParameters
from .writer import TRUTH_FOLDER, write_case

MARKER_FILE = "phantom.json"
PATIENTS_FILE = "patients.csv"
DATALIST_FILE = "datalist.json"
_SECOND_SCAN_PROBABILITY = 31 / 63  # ISLES 2018: 94 scans of 63 patients
_PATIENT_KEY, _SCAN_KEY, _LAYOUT_KEY = 0, 1, 2

Scanner = Callable[[ScanParameters], ScanParameters]
"""Returns a scan as one scanner would have made it; a function that other processes can import."""


@dataclass(frozen=True)
class PlannedCase:
    """A planned case.

    Attributes:
        number: from 1, through all sections.
        section: one of ``training``, ``validation``, ``testing``.
        subject: name of the patient.
        patient_key: spawn key of the patient's seed, shared by both scans.
        scan_key: spawn key of the scan's seed.
    """

    number: int
    section: str
    subject: str
    patient_key: tuple[int, int, int]
    scan_key: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Name of the case's folder."""
        return f"case_{self.number}"


def plan_cohort(counts: Sequence[int], seed: int) -> list[PlannedCase]:
    """List the cases of a data set.

    Seeds derive from ``SeedSequence(seed, spawn_key=(section, index, purpose))``: a case does not depend on the number
    of cases in any section, and each patient is in one section.

    Args:
        counts: number of training, validation and testing cases.
        seed: of the data set.

    Raises:
        ValueError: unless ``counts`` are three numbers of at least zero, not all zero, and ``seed`` is not negative.
    """
    if len(counts) != len(SECTIONS) or min(counts) < 0 or sum(counts) == 0:
        raise ValueError(f"counts must be three numbers of cases, not all zero, got {tuple(counts)}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    planned: list[PlannedCase] = []
    for section_index, (section, count) in enumerate(zip(SECTIONS, counts, strict=True)):
        first_scan = 0
        n_patients = 0
        can_repeat = False
        for index in range(count):
            layout = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(section_index, index, _LAYOUT_KEY)))
            if can_repeat and layout.random() < _SECOND_SCAN_PROBABILITY:
                can_repeat = False
            else:
                first_scan, can_repeat = index, True
                n_patients += 1
            planned.append(
                PlannedCase(
                    number=len(planned) + 1,
                    section=section,
                    subject=f"{section}_{n_patients:03d}",
                    patient_key=(section_index, first_scan, _PATIENT_KEY),
                    scan_key=(section_index, index, _SCAN_KEY),
                )
            )
    return planned


def ensure_cohort(
    folder: Path,
    counts: tuple[int, int, int],
    seed: int,
    *,
    workers: int = 2,
    matrix: int = FIELD_OF_VIEW_PIXELS,
    scanner: Scanner | None = None,
) -> Path:
    """The datalist in a folder; a phantom is made where there is none yet.

    Args:
        folder: a data set, or where to make one.
        counts: cases for training, validation and testing.
        seed: of the phantom.
        workers: processes that make it.
        matrix: pixels along each side of its slices.
        scanner: of all scans; None for one of its own for each.
    """
    datalist = folder / DATALIST_FILE
    if not datalist.is_file():
        # An interrupted phantom has its marker and no datalist: that alone is overwritten.
        overwrite = (folder / MARKER_FILE).is_file()
        options: dict[str, Any] = {"matrix": matrix, "workers": workers, "scanner": scanner}
        generate_cohort(folder, counts, seed, overwrite=overwrite, progress=True, **options)
    return datalist


def generate_cohort(
    out: Path,
    counts: Sequence[int],
    seed: int,
    *,
    with_dwi: bool = True,
    matrix: int = FIELD_OF_VIEW_PIXELS,
    workers: int = 1,
    overwrite: bool = False,
    progress: bool = False,
    scanner: Scanner | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Write a data set: case folders, truth, ``patients.csv`` and ``datalist.json``.

    The bytes depend only on the counts, the seed, ``with_dwi``, ``matrix`` and ``scanner``.

    Args:
        out: folder of the data set.
        counts: number of training, validation and testing cases.
        seed: of the data set.
        with_dwi: whether to write MR_DWI.
        matrix: pixels along each side of a slice; the field of view is constant.
        workers: number of processes; 1 uses the current one.
        overwrite: replace an existing phantom (and nothing else).
        progress: show a progress bar.
        scanner: of all scans; None for one of its own for each.

    Returns:
        The sections of the datalist.

    Raises:
        FileExistsError: ``out`` is not empty, and it is not a phantom or ``overwrite`` is false.
        ValueError: for bad counts, seed, matrix or workers.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if matrix < 16:
        raise ValueError(f"matrix must be at least 16, got {matrix}")
    plan = plan_cohort(counts, seed)
    _prepare_folder(out, overwrite)
    write_json(out / MARKER_FILE, {"seed": seed, "counts": list(counts), "with_dwi": with_dwi, "matrix": matrix})
    _run(plan, workers, progress, out, seed, with_dwi, matrix, scanner)
    _write_patients(out / PATIENTS_FILE, plan)
    found = {case["case"]: case for case in find_cases(out, with_dwi=with_dwi, patients=out / PATIENTS_FILE)}
    sections = {name: [found[case.name] for case in plan if case.section == name] for name in SECTIONS}
    write_datalist(out / DATALIST_FILE, sections)
    return sections


def _prepare_folder(out: Path, overwrite: bool) -> None:
    """Make ``out``, or clear it of an earlier phantom."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"out '{out}': expected a folder, got a file")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise FileExistsError(f"out '{out}': expected an empty or new folder, got one with files; see --overwrite")
        if not (out / MARKER_FILE).is_file():
            raise FileExistsError(f"out '{out}': only a phantom's folder is overwritten, and there is no {MARKER_FILE}")
        # An interrupted run leaves files with hidden names.
        for folder in [*out.glob("case_*"), *out.glob(".case_*.tmp"), out / TRUTH_FOLDER]:
            shutil.rmtree(folder, ignore_errors=True)
        for name in (PATIENTS_FILE, DATALIST_FILE, MARKER_FILE):
            (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _make_case(planned: PlannedCase, out: Path, seed: int, with_dwi: bool, matrix: int, scanner: Scanner | None) -> str:
    patient = sample_patient(np.random.SeedSequence(seed, spawn_key=planned.patient_key))
    scan = sample_scan(np.random.SeedSequence(seed, spawn_key=planned.scan_key))
    scan = scanner(scan) if scanner else scan
    # One thread: another order of sums would change the last bits, and the processes already use all cores.
    with _single_thread():
        write_case(simulate_case(patient, scan, matrix), out, planned.name, planned.number, with_dwi=with_dwi)
    return planned.name


@contextmanager
def _single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run(plan: list[PlannedCase], workers: int, progress: bool, *arguments: Any) -> None:
    """Make all cases; the first error ends the run."""
    with tqdm(total=len(plan), desc="phantom", unit="case", disable=not progress) as bar:
        if workers == 1:
            for planned in plan:
                bar.set_postfix_str(_make_case(planned, *arguments))
                bar.update()
            return
        # Processes are spawned: a fork would copy torch's threads in an undefined state.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(plan)), mp_context=context) as pool:
            submit: Callable[..., Future[str]] = pool.submit
            futures = [submit(_make_case, planned, *arguments) for planned in plan]
            try:
                for future in as_completed(futures):
                    bar.set_postfix_str(future.result())
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _write_patients(path: Path, plan: list[PlannedCase]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("case", "subject"))
        table.writerows((planned.name, planned.subject) for planned in plan)
