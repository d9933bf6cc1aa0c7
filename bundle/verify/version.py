"""The version of a bundle."""

import re
from pathlib import Path

from ..package import BUNDLE_NAME
from .files import read_object


def check_version(root: Path, model_info: Path | None = None) -> str:
    """The version is in the changelog, can be ordered, and was not released before.

    Args:
        root: folder of the bundle.
        model_info: the zoo's list of released bundles.
    """
    metadata = read_object(root / "configs" / "metadata.json")
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if not isinstance(version, str) or not re.fullmatch(r"\d\.\d\.\d", version):
        # The zoo finds the latest version by the order of the texts: 0.10.0 would come before 0.9.0.
        raise ValueError(f"metadata.json: expected a version of three numbers below 10, got {version!r}")
    if not isinstance(changelog, dict) or not changelog.get(version):
        raise ValueError(f"metadata.json: expected version {version} in the changelog")
    if model_info is not None and f"{BUNDLE_NAME}_v{version}" in read_object(model_info):
        raise ValueError(f"metadata.json: expected a new version, got {version}, which {model_info.name} has already")
    return f"{version}: {changelog[version]}"
