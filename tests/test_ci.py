"""The workflows of CI and the hooks: what they call exists, and they may do no more than they need."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
JOBS = [
    pytest.param(job, id=f"{path.stem}-{name}")
    for path in WORKFLOWS
    for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items()
]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]


def commands(job: dict) -> list[str]:
    """The commands of a job; the expression of a matrix is replaced by its entries."""
    entries = job.get("strategy", {}).get("matrix", {}).get("include", [])
    steps = [step["run"] for step in job["steps"] if "run" in step]
    return [line for step in steps for line in ([e["run"] for e in entries] if "matrix.run" in step else [step])]


def test_there_are_a_workflow_for_changes_and_one_for_the_night():
    assert {path.name for path in WORKFLOWS} >= {"ci.yml", "nightly.yml"}


@pytest.mark.parametrize("job", JOBS)
def test_the_make_targets_of_a_job_exist(job):
    called = [re.fullmatch(r"make ([\w-]+)(?: \w+=\w+)*", command) for command in commands(job)]
    assert called
    assert {match[1] for match in called} <= TARGETS


def test_every_integration_test_runs_at_night():
    integration = {target for target in TARGETS if target.startswith("test-")} - {"test-all"}
    nightly = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8"))
    assert {command.split()[1] for command in commands(nightly["jobs"]["integration"])} == integration


@pytest.mark.parametrize("job", JOBS)
def test_actions_are_githubs_own_of_a_major_version(job):
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)
    assert job["timeout-minutes"] <= 180


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    assert not [job for job in content["jobs"].values() if "permissions" in job]
    assert "pull_request_target" not in content[True]  # YAML reads the key `on` as true


def test_the_hooks_have_the_versions_that_are_pinned():
    revisions = {repo["repo"].rsplit("/", 1)[1]: repo["rev"] for repo in HOOKS}
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert revisions["ruff-pre-commit"] == f"v{pins['ruff']}"


def test_the_hooks_of_the_zoo_are_there():
    names = {hook["id"] for repo in HOOKS for hook in repo["hooks"]}
    zoo = {"end-of-file-fixer", "trailing-whitespace", "check-yaml", "check-docstring-first", "check-toml"}
    zoo |= {"check-case-conflict", "check-added-large-files", "detect-private-key", "check-executables-have-shebangs"}
    assert names >= zoo | {"ruff-check", "ruff-format", "black"}
