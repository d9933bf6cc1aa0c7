"""The checks that run a bundle's own code: MONAI's, in a process that finds no `scripts` but the bundle's.

This module also is that process's program, run by its path, and so imports nothing of the package it lies in.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parent / "metadata_schema.json"
WORKFLOWS = {"train": ["train"], "evaluate": ["train", "evaluate"], "inference": ["inference"]}
"""The config files of each workflow."""
NETWORK, ANY_SIZE = "network_def", 48


def run_probe(root: Path, *, online: bool = False) -> dict[str, str]:
    """What is wrong with each thing that needs the bundle's code; nothing where it is right.

    Args:
        root: folder of the bundle.
        online: also validate the metadata against the schema at the address that they give.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # -P: the folder of this file stays off the path; MONAI's commands run in the bundle's folder, too.
        command = [sys.executable, "-P", __file__, str(root), folder, str(report), *(["online"] if online else [])]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if not report.is_file():
            return {"MONAI's checks": f"expected a report, got {_last_line(result.stderr)}"}
        return json.loads(report.read_text(encoding="utf-8"))


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")


def probe(root: Path, folder: Path, *, online: bool) -> dict[str, str]:
    """Run the checks in this process; see :func:`run_probe`.

    Args:
        root: folder of the bundle, on the path.
        folder: for what the checks write.
        online: see :func:`run_probe`.
    """
    from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
    from torch import jit, rand

    metadata, weights = root / "configs" / "metadata.json", root / "models" / "model.pt"
    inference = root / "configs" / "inference.json"
    network: dict[str, Any] = {"net_id": NETWORK, "meta_file": str(metadata), "config_file": str(inference)}

    def check_schema(schema: Path) -> None:
        verify_metadata(meta_file=str(metadata), filepath=str(schema))

    def check_properties() -> None:
        overrides = {"dataset_dir": str(write_data(folder)), "output_dir": str(folder), "ckpt_dir": str(folder)}
        for name, files in WORKFLOWS.items():
            workflow = ConfigWorkflow(
                config_file=[str(root / "configs" / f"{file}.json") for file in files],
                meta_file=str(metadata),
                logging_file=str(root / "configs" / "logging.conf"),
                workflow_type="inference" if name == "inference" else "train",  # evaluate overlays train
                **overrides,
                num_workers=0,
            )
            workflow.initialize()
            missing = workflow.check_properties()
            if missing:
                raise ValueError(f"{name}.json: expected the properties {', '.join(missing)}")

    def check_torchscript() -> None:
        exported = folder / "model.ts"
        ckpt_export(**network, filepath=str(exported), ckpt_file=str(weights), bundle_root=str(root))
        image = ConfigParser.load_config_file(metadata)["network_data_format"]["inputs"]["image"]
        for path in (exported, root / "models" / "model.ts"):
            if path.is_file():
                jit.load(str(path), map_location="cpu")(rand(2, image["num_channels"], ANY_SIZE, ANY_SIZE))

    checks: dict[str, Callable[[], None]] = {
        "metadata": lambda: check_schema(SCHEMA),
        "properties": check_properties,
        "network in and out": lambda: verify_net_in_out(**network, device="cpu"),
        "network in and out, --any": lambda: verify_net_in_out(**network, device="cpu", any=ANY_SIZE, n=3),
        "TorchScript": check_torchscript,
    }
    if online:
        # MONAI downloads the schema to a path where no file is.
        checks["published schema"] = lambda: check_schema(folder / "schema.json")
    return {name: _problem(check) for name, check in checks.items()}


def write_data(folder: Path) -> Path:
    """A data set of one small case, for MONAI instantiates what it asks a workflow for."""
    import nibabel as nib
    import numpy as np

    uptake = np.interp(np.arange(20), [3, 9, 17], [0, 15, 0])
    brain = np.hypot(*np.mgrid[-1:1:32j, -1:1:32j])[..., None] < 0.8
    lesion = brain & (np.arange(32) < 12)[:, None, None]
    series = np.where(brain, 35, -1000)[..., None] + np.where(brain, 1 - 0.7 * lesion, 0)[..., None] * uptake
    series[15:17, 8] += 10 * uptake  # an artery
    series += np.random.default_rng(0).normal(size=series.shape) * brain[..., None]
    case = {"case": "case_1"}
    for key, volume in {"image": series, "label": lesion}.items():
        image = nib.Nifti1Image(volume.astype(np.float32), np.diag([7.0, 7, 8, 1]))
        image.header.set_xyzt_units("mm", "sec")
        case[key] = str(folder / f"{key}.nii")
        nib.save(image, case[key])
    sections = {section: [case] for section in ("training", "validation", "testing")}
    (folder / "datalist.json").write_text(json.dumps(sections), encoding="utf-8")
    return folder


def _problem(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as raised:  # whatever a bundle's code raises is that check's result
        error: BaseException = raised
        while error.__cause__ is not None:  # MONAI wraps an error in one for each component
            error = error.__cause__
        return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    return ""


if __name__ == "__main__":
    found = probe(Path(sys.argv[1]), Path(sys.argv[2]), online="online" in sys.argv[4:])
    Path(sys.argv[3]).write_text(json.dumps(found), encoding="utf-8")
