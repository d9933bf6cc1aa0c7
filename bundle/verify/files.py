"""Which files a bundle has, and what they look like from outside."""

import json
import re
from pathlib import Path
from typing import Any

from ..package import shipped_files

REQUIRED = ("LICENSE", "configs/metadata.json")
PREFERRED = ("models/model.pt", "configs/inference.json")
CONFIGS = ("metadata.json", "train.json", "evaluate.json", "inference.json", "logging.conf")
CONFIG_NAME = re.compile(r"[a-z][a-z0-9_]*\.(json|yaml|yml|conf)")
MAX_BYTES = 25_000_000
"""The zoo says 25 MB: read as the smaller of the two that this can mean."""

INFERENCE_KEYS = ("bundle_root", "device", "network_def", "inferer", "output_dir")
TRAIN_KEYS = ("bundle_root", "device", "dataset_dir", "output_dir")
TRAIN_COMPONENTS = {
    "train": ("trainer", "trainer#max_epochs", "dataset", "dataset#data", "handlers"),
    "validate": ("evaluator", "handlers", "dataset", "dataset#data"),
}
"""Of the zoo's page for contributors."""


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: expected JSON, got {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Raises:
        ValueError: it is not JSON, or no object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: expected a JSON object, got {type(content).__name__}")
    return content


def check_required(root: Path) -> str:
    """The files that every bundle must have."""
    return _check_present(root, REQUIRED)


def check_preferred(root: Path) -> str:
    """The files from which the zoo exempts some bundles, but not this one."""
    return _check_present(root, PREFERRED)


def _check_present(root: Path, names: tuple[str, ...]) -> str:
    missing = [name for name in names if not (root / name).is_file() or not (root / name).stat().st_size]
    if missing:
        raise ValueError(f"expected files that are not empty, got none at {', '.join(missing)}")
    return ", ".join(names)


def check_config_names(root: Path) -> str:
    """The names by which MONAI Label, MONAI's clients and the zoo find configs; others in the same style."""
    missing = [name for name in CONFIGS if not (root / "configs" / name).is_file()]
    if missing:
        raise ValueError(f"configs: expected {', '.join(missing)}")
    found = sorted(path.name for path in (root / "configs").iterdir() if path.is_file())
    strange = [name for name in found if not CONFIG_NAME.fullmatch(name)]
    if strange:
        raise ValueError(f"configs: expected lower_case.json, .yaml or .conf, got {', '.join(strange)}")
    return ", ".join(found)


def check_config_keys(root: Path) -> str:
    """The keys that the zoo asks of the inference and of the training config."""
    inference, train = (read_object(root / "configs" / f"{name}.json") for name in ("inference", "train"))
    problems = [f"inference.json: {key}" for key in INFERENCE_KEYS if not _has(inference, key)]
    problems += [f"train.json: {key}" for key in TRAIN_KEYS if not _has(train, key)]
    for section, keys in TRAIN_COMPONENTS.items():
        if section in train:
            problems += [f"train.json: {section}#{key}" for key in keys if not _has(train[section], key)]
    text = json.dumps(train)
    if "ValidationHandler" in text and ("val_interval" not in train or '"interval": "@val_interval"' not in text):
        problems.append("train.json: val_interval, as the interval of the ValidationHandler")
    if problems:
        raise ValueError(f"expected the keys {', '.join(problems)}")
    return "those of inference.json and train.json"


def _has(config: Any, key: str) -> bool:
    for part in key.split("#"):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


def check_sizes(root: Path) -> str:
    """No shipped file is larger than the zoo takes."""
    sizes = {path: path.stat().st_size for path in shipped_files(root)}
    if not sizes:
        raise ValueError("expected the files of a bundle, got none")
    large = [f"{path.relative_to(root)} ({size:,} bytes)" for path, size in sizes.items() if size > MAX_BYTES]
    if large:
        raise ValueError(f"expected at most {MAX_BYTES:,} bytes, got {', '.join(large)}")
    largest = max(sizes, key=lambda path: sizes[path])
    return f"{len(sizes)} files, the largest {largest.relative_to(root)} with {sizes[largest] / 1e6:.1f} MB"


def check_json_format(root: Path) -> str:
    """Every shipped JSON file is as Python writes it with an indent of 4, and has no key twice."""
    paths = [path for path in shipped_files(root) if path.suffix == ".json"]
    wrong = [
        str(path.relative_to(root))
        for path in paths
        if path.read_text(encoding="utf-8") != json.dumps(read_json(path), indent=4) + "\n"
    ]
    if wrong:
        raise ValueError(f"expected JSON indented by 4, no key twice and a final newline in {', '.join(wrong)}")
    return f"{len(paths)} files indented by 4"
