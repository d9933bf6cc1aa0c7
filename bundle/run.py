"""Run a workflow of the bundle in this process."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from scripts.io.errors import root_error

from .provenance import ROOT

WEIGHTS = ROOT / "models" / "model.pt"


def check_weights(ckpt_path: Path) -> Path:
    """The path itself, if there is a file.

    Raises:
        FileNotFoundError: there is none.
    """
    if not ckpt_path.is_file():
        raise FileNotFoundError(f"ckpt_path '{ckpt_path}': expected the weights, got nothing there")
    return ckpt_path


def config_files(name: str, root: Path = ROOT) -> list[Path]:
    """`configs/<name>.json`, after `configs/train.json` if it is an overlay on that and defines no network itself."""
    path, base = (root / "configs" / f"{each}.json" for each in (name, "train"))
    return [path] if "network_def" in ConfigParser.load_config_file(str(path)) else [base, path]


def run_workflow(
    name: str, overlays: Iterable[Path] = (), tracking: dict[str, Any] | None = None, **overrides: Any
) -> ConfigWorkflow:
    """Run `configs/<name>.json` in this process.

    Args:
        name: of the config, for example `evaluate`.
        overlays: configs over it.
        tracking: the settings of MONAI's tracking.
        overrides: keys of the config.

    Returns:
        The workflow, after its end.

    Raises:
        CaseError, DatasetError, FileNotFoundError: what is wrong with the data; MONAI's wrapper is taken off.
    """
    workflow = ConfigWorkflow(
        config_file=[str(path) for path in (*config_files(name), *overlays)],
        workflow_type="train" if name == "train" else "inference",
        logging_file=False,
        tracking=tracking,
        **overrides,
    )
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:
        raise root_error(error) from error
    return workflow
