"""A copy of the bundle that a test may break."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from bundle.package import WHO, shipped_files
from tests.conftest import ROOT


def copy_bundle(root: Path) -> Path:
    """Copy what ships, but for the weights, which are linked."""
    for file in shipped_files(ROOT):
        target = root / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".pt":
            target.symlink_to(file)
        else:
            shutil.copy(file, target)
    return root


def as_repository(root: Path) -> Path:
    """Make a folder a git repository with all of it in one commit."""
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", "-C", str(root), *command], env=os.environ | WHO, check=True)
    return root


def edit_json(path: Path, **changes) -> None:
    """Set keys of a JSON file, nested ones as `a#b`; a value of `...` removes the key."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        *parents, last = key.split("#")
        item = content
        for parent in parents:
            item = item[parent]
        if value is ...:
            del item[last]
        else:
            item[last] = value
    path.write_text(json.dumps(content, indent=4) + "\n")
