"""What the model zoo asks of a bundle's files; a check returns what it found, or raises ValueError or OSError."""

import json
import re
import subprocess
import sys
from importlib import metadata as installed
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ..package import BUNDLE_NAME, shipped_files

REQUIRED = ("LICENSE", "configs/metadata.json", "models/model.pt", "configs/inference.json", "docs/data_license.txt")
CONFIGS = ("metadata.json", "train.json", "evaluate.json", "inference.json", "logging.conf")
CONFIG_NAME = re.compile(r"[a-z][a-z0-9_]*\.(json|yaml|yml|conf)")
MAX_BYTES = 25_000_000
"""The zoo says 25 MB: read as the smaller of the two that this can mean."""
SECTIONS = (
    "Model Overview",
    "Data",
    "Preprocessing",
    "Training configuration",
    "Memory",
    "Input",
    "Output",
    "Performance",
    "MONAI Bundle Commands",
    "References",
    "License",
)
"""Headings of the zoo's model cards, in their order."""
VERSION_KEYS = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
PACKAGE_KEYS = ("required_packages_version", "optional_packages_version")


def read_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: expected JSON, got {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: expected a JSON object, got {type(content).__name__}")
    return content


def check_required(root: Path) -> str:
    """The files that a bundle must have, those too from which the zoo exempts some bundles."""
    missing = [name for name in REQUIRED if not (root / name).is_file() or not (root / name).read_bytes().strip()]
    if missing:
        raise ValueError(f"expected files that are not empty, got none at {', '.join(missing)}")
    return ", ".join(REQUIRED)


def check_config_names(root: Path) -> str:
    """The names by which MONAI Label, MONAI's clients and the zoo find configs; others in the same style."""
    found = sorted(path.name for path in (root / "configs").iterdir() if path.is_file())
    if missing := [name for name in CONFIGS if name not in found]:
        raise ValueError(f"configs: expected {', '.join(missing)}")
    if strange := [name for name in found if not CONFIG_NAME.fullmatch(name)]:
        raise ValueError(f"configs: expected lower_case.json, .yaml or .conf, got {', '.join(strange)}")
    return ", ".join(found)


def check_sizes(root: Path) -> str:
    """No shipped file is larger than the zoo takes."""
    sizes = {str(path.relative_to(root)): path.stat().st_size for path in shipped_files(root)}
    if large := [f"{name} ({size:,} bytes)" for name, size in sizes.items() if size > MAX_BYTES]:
        raise ValueError(f"expected at most {MAX_BYTES:,} bytes, got {', '.join(large)}")
    largest = max(sizes, key=lambda name: sizes[name])
    return f"{len(sizes)} files, the largest {largest} with {sizes[largest] / 1e6:.1f} MB"


def check_json_format(root: Path) -> str:
    """Every shipped JSON file is as Python writes it with an indent of 4, and has no key twice."""
    paths = [path for path in shipped_files(root) if path.suffix == ".json"]
    written = {path: json.dumps(read_object(path), indent=4) + "\n" for path in paths}
    if wrong := [path.name for path, text in written.items() if path.read_text(encoding="utf-8") != text]:
        raise ValueError(f"expected JSON indented by 4, no key twice and a final newline in {', '.join(wrong)}")
    return f"{len(paths)} files indented by 4"


def check_version(root: Path, model_info: Path | None = None) -> str:
    """The version is in the changelog, and is not in the zoo's list of released bundles."""
    metadata = read_object(root / "configs" / "metadata.json")
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if not isinstance(changelog, dict) or not changelog.get(version):
        raise ValueError(f"metadata.json: expected version {version} in the changelog")
    if model_info is not None and f"{BUNDLE_NAME}_v{version}" in read_object(model_info):
        raise ValueError(f"metadata.json: expected a new version, got {version}, which {model_info.name} has already")
    return f"{version}: {changelog[version]}"


def check_model_card(root: Path) -> str:
    """`docs/README.md` has the zoo's sections in the zoo's order, and none is empty."""
    text = (root / "docs" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "code", text, flags=re.MULTILINE | re.DOTALL)  # a comment there begins as a heading
    _, *parts = re.split(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    found = [(title, body) for title, body in zip(parts[::2], parts[1::2], strict=True) if title in SECTIONS]
    if [title for title, _ in found] != list(SECTIONS):
        got = ", ".join(title for title, _ in found) or "none of them"
        raise ValueError(f"docs/README.md: expected the sections {', '.join(SECTIONS)}, each once; got {got}")
    if empty := [title for title, body in found if not body.strip()]:
        raise ValueError(f"docs/README.md: expected text in every section, got none in {', '.join(empty)}")
    return f"{len(SECTIONS)} sections"


def pins(root: Path) -> dict[str, str]:
    """The version of each package that the metadata name, those of MONAI, PyTorch and NumPy first."""
    metadata = read_object(root / "configs" / "metadata.json")
    found = {package: str(metadata.get(key)) for package, key in VERSION_KEYS.items()}
    for key in PACKAGE_KEYS:
        found |= metadata.get(key, {})
    return found


def check_pins(root: Path) -> str:
    """Every package is pinned to what is installed here, and in `constraints.txt` if there is one: what was tested."""
    path = root / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    split = (line.partition("==") for line in lines)
    constraints: dict[str, str] = {canonicalize_name(name): version for name, _, version in split if version}
    problems = []
    for name, version in pins(root).items():
        found = {"installed": _installed_version(name)}
        if constraints:
            found["constraints.txt"] = constraints.get(canonicalize_name(name))
        problems += [f"{name} {version} ({where}: {here})" for where, here in found.items() if here != version]
    if problems:
        raise ValueError(f"metadata.json: expected the tested versions, got {', '.join(problems)}")
    return f"{len(pins(root))} packages, as installed" + (" and in constraints.txt" if constraints else "")


def _installed_version(name: str) -> str | None:
    try:
        return installed.version(name).split("+")[0]
    except installed.PackageNotFoundError:
        return None


def check_index(root: Path) -> str:
    """The package index has every pinned version, and they go together: what the zoo's CI would install."""
    requirements = [f"{name}=={version}" for name, version in pins(root).items()]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", *requirements]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise ValueError(f"expected pip to find {', '.join(requirements)}, got {' '.join(errors) or result.stderr}")
    return f"{len(requirements)} packages can be installed together"
