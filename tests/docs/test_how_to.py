"""The commands of docs/how-to: blocks fenced as ```sh test run, in a copy of the repository with a small data set.

The blocks of a page run one after the other, as a reader would run them. The other commands of `python -m bundle` must
at least be ones that it knows.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil

import pytest

from bundle.__main__ import COMMANDS
from tests.bundle.copied_bundle import as_repository, copy_bundle
from tests.conftest import ROOT, SMALL
from tests.processes import run_python

PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "how-to").glob("*.md"))}
TESTED = {name: re.findall(r"^```sh test\n(.*?)^```", text, re.M | re.S) for name, text in PAGES.items()}
OURS = re.compile(r"^(?:    |)(python -m bundle .+)$", re.MULTILINE)


@pytest.fixture
def repository(tmp_path, dataset_dir):
    """A copy of what a checkout has, with the small data set at its place; weights are those that ship."""
    root = copy_bundle(tmp_path / "repository")
    for link in [path for path in root.rglob("*.pt") if path.is_symlink()]:  # a link is not packed
        weights = link.resolve()
        link.unlink()
        shutil.copy(weights, link)
    for name in ("constraints.txt", "bundle"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    as_repository(root)
    (root / "data").mkdir()
    (root / "data" / "phantom").symlink_to(dataset_dir)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("page", [name for name, blocks in TESTED.items() if blocks])
def test_the_commands_of_a_page_run(page, repository):
    for command in (line for block in TESTED[page] for line in block.splitlines()):
        arguments = shlex.split(command)
        assert arguments[0] == "python"
        if "monai.bundle run" in command:
            arguments += ["--image_size", str(SMALL["image_size"]), "--num_workers", "0", "--device", "cpu"]
            arguments += ["--use_given_maps", "True"]  # the small cases are no heads
        result = run_python(arguments[1:], repository)
        assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"


@pytest.mark.parametrize("command", sorted({line for text in PAGES.values() for line in OURS.findall(text)}))
def test_our_commands_are_known(command):
    name, *arguments = shlex.split(command)[3:]
    parser = argparse.ArgumentParser()
    COMMANDS[name].add_arguments(parser)
    parser.parse_args(arguments)
