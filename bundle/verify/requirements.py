"""The packages that a bundle names, which the zoo's CI installs before anything else."""

import re
import subprocess
import sys
import tempfile
from importlib import metadata as installed
from pathlib import Path

from .files import read_object

VERSION_KEYS = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
PACKAGE_KEYS = ("required_packages_version", "optional_packages_version")
EXACT = re.compile(r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)*")


def pins(root: Path) -> dict[str, str]:
    """The version of each package that the metadata name, those of MONAI, PyTorch and NumPy first.

    Raises:
        ValueError: a version is missing, or not one exact version.
    """
    metadata = read_object(root / "configs" / "metadata.json")
    found = {package: metadata.get(key) for package, key in VERSION_KEYS.items()}
    for key in PACKAGE_KEYS:
        packages = metadata.get(key, {})
        if not isinstance(packages, dict):
            raise ValueError(f"metadata.json: expected packages and their versions in {key}, got {packages!r}")
        found |= packages
    wrong = {name: version for name, version in found.items() if not EXACT.fullmatch(str(version))}
    if wrong:
        raise ValueError(f"metadata.json: expected exact versions, got {wrong}")
    return {name: str(version) for name, version in found.items()}


def check_pins(root: Path) -> str:
    """Every package is pinned to what is installed here, so that what was tested is what is named.

    Where the bundle has a `constraints.txt`, the pins are its, too.
    """
    constraints = _constraints(root)
    problems = []
    for name, version in pins(root).items():
        here = _installed_version(name)
        if here != version:
            problems.append(f"{name} {version} (installed: {here})")
        if constraints and constraints.get(_normal(name)) != version:
            problems.append(f"{name} {version} (constraints.txt: {constraints.get(_normal(name))})")
    if problems:
        raise ValueError(f"metadata.json: expected the tested versions, got {', '.join(problems)}")
    return f"{len(pins(root))} packages, as installed" + (" and in constraints.txt" if constraints else "")


def _installed_version(name: str) -> str | None:
    try:
        return installed.version(name).split("+")[0]
    except installed.PackageNotFoundError:
        return None


def _constraints(root: Path) -> dict[str, str]:
    path = root / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = [line.split("==") for line in lines if "==" in line]
    return {_normal(name): version for name, version in pairs}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_index(root: Path) -> str:
    """The package index has every pinned version, and they go together: what the zoo's CI would install."""
    requirements = [f"{name}=={version}" for name, version in pins(root).items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        options = ["--dry-run", "--ignore-installed", "--quiet", "--requirement", str(path)]
        command = [sys.executable, "-m", "pip", "install", *options]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError(f"expected pip to find {', '.join(requirements)}, got {_errors(result.stderr)}")
    return f"{len(requirements)} packages can be installed together"


def _errors(text: str) -> str:
    return " ".join(line for line in text.splitlines() if line.startswith("ERROR")) or text.strip()
