"""What several commands do: make a phantom, and run a workflow of the bundle."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from nibabel.affines import voxel_sizes

from scripts.io import load_case, load_datalist
from scripts.io.paths import bundle_root
from scripts.phantom import generate_cohort
from scripts.phantom.parameters import FIELD_OF_VIEW_PIXELS
from scripts.workflow.case_dataset import root_error

ROOT = Path(bundle_root())
WEIGHTS = ROOT / "models" / "model.pt"
DATALIST, PHANTOM = "datalist.json", "phantom.json"


def ensure_data(
    folder: Path,
    counts: tuple[int, int, int],
    seed: int,
    *,
    workers: int = 2,
    matrix: int = FIELD_OF_VIEW_PIXELS,
) -> Path:
    """The datalist in a folder; a phantom is made where there is none yet.

    Args:
        folder: a data set, or where to make one.
        counts: cases for training, validation and testing.
        seed: of the phantom.
        workers: processes that make it.
        matrix: pixels along each side of its slices.
    """
    if not (folder / DATALIST).is_file():
        # An interrupted phantom has its marker and no datalist: that alone is overwritten.
        overwrite = (folder / PHANTOM).is_file()
        generate_cohort(folder, counts, seed, matrix=matrix, workers=workers, overwrite=overwrite, progress=True)
    return folder / DATALIST


def check_weights(ckpt_path: Path) -> Path:
    """The path itself, if there is a file.

    Raises:
        FileNotFoundError: there is none.
    """
    if not ckpt_path.is_file():
        raise FileNotFoundError(f"ckpt_path '{ckpt_path}': expected the weights, got nothing there")
    return ckpt_path


def describe_data(folder: Path) -> str:
    """How a data set was made, in words."""
    marker = folder / PHANTOM
    if not marker.is_file():
        return f"the data set `{folder.name}`"
    made = json.loads(marker.read_text(encoding="utf-8"))
    options = f"--split {'/'.join(map(str, made['counts']))} --seed {made['seed']}"
    if (matrix := made.get("matrix", FIELD_OF_VIEW_PIXELS)) != FIELD_OF_VIEW_PIXELS:
        options += f" --matrix {matrix}"
    return f"the phantom with seed {made['seed']} (`{options}`)"


def run_workflow(name: str, **overrides: Any) -> None:
    """Run `configs/<name>.json` in this process.

    Args:
        name: of the config, for example `evaluate`.
        overrides: keys of the config.

    Raises:
        CaseError, DatasetError, FileNotFoundError: what is wrong with the data; MONAI's wrapper is taken off.
    """
    workflow = ConfigWorkflow(
        config_file=str(ROOT / "configs" / f"{name}.json"),
        workflow_type="train" if name == "train" else "inference",
        logging_file=False,
        **overrides,
    )
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:
        raise root_error(error) from error


def load_cases(folder: Path, datalist: Path, section: str) -> Iterator[Mapping[str, Any]]:
    """The loaded cases of a section, one at a time, each with `spacing_mm` and without its series.

    The series is checked, and then let go: the thresholds need the maps alone.
    """
    for case in load_datalist(datalist, section, folder):
        loaded = load_case(case)
        del loaded["image"]
        yield loaded | {"spacing_mm": voxel_sizes(loaded["affine"])}


def command_line(command: str, quick: bool, options: Mapping[str, Any]) -> str:
    """A command of `python -m bundle` as a page shows it.

    Args:
        command: its name.
        quick: whether it was run with `--quick`.
        options: the values of other options, by their names; one that is None or empty was not given.
    """
    given = [f"--{name} {value}" for name, value in options.items() if value not in (None, "")]
    return " ".join([f"python -m bundle {command}", *["--quick"] * quick, *given])


def commit() -> str:
    """The commit of the repository, marked where tracked files differ from it; "unknown" outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def machine() -> str:
    """The processor and what runs on it."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return f"{device}, Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}"


def _processor() -> str:
    """Cores, model and the instructions that decide how fast a network runs, as far as torch tells."""
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.8 has none
    instructions = [name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if found.get(name)]
    details = ", ".join([found.get("cpu_name", "CPU"), *instructions])
    return f"{os.cpu_count()} {platform.machine()} cores ({details})"
