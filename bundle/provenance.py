"""Where numbers come from: the commit, the code, the machine and the command, as pages name them."""

import ast
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scripts.io.paths import bundle_root

ROOT = Path(bundle_root())
DOCS = ROOT / "docs"
CODE = ("scripts", "bundle", "configs")
"""What decides a result: a page written before is no change of the code."""
NOT_IN_A_RUN = ("__main__.py", "cli.py", "commands", "datasets", "dicom", "phantom", "report")
"""Parts of `scripts` that neither training nor evaluation uses."""


def commit() -> str:
    """The commit of the repository, marked `-dirty` where its code differs from it; "unknown" outside a repository."""
    head = _git("rev-parse", "--short", "HEAD")
    changes = _git("status", "--porcelain", "--", *CODE) if head else ""
    return f"{head}-dirty" if changes else head or "unknown"


def check_clean(out: Path, found: str) -> None:
    """Raise a ValueError where a page of the repository would name a commit that is not the code it was made by.

    Args:
        out: the page, or the folder of the pages. Outside `docs` it may name any commit.
        found: the commit, see :func:`commit`.
    """
    if found.endswith("-dirty") and out.absolute().is_relative_to(DOCS):
        raise ValueError(f"page '{out}': expected a clean commit of {', '.join(CODE)}, got {found}: commit them first")


def code_digest(root: Path = ROOT) -> str:
    """A digest of the code that trains and evaluates; comments, docstrings and layout do not count."""
    scripts = root / "scripts"
    files = {path.relative_to(scripts): path.read_text(encoding="utf-8") for path in sorted(scripts.rglob("*.py"))}
    used = {name: text for name, text in files.items() if name.parts[0] not in NOT_IN_A_RUN}
    return digest_of({name.as_posix(): _meaning(text) for name, text in used.items()})


def _meaning(source: str) -> str:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [item for item in body if not (isinstance(item, ast.Expr) and _is_text(item.value))]
    return ast.dump(tree)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def digest_of(content: Any) -> str:
    """The first twelve digits of the SHA-256 of what JSON makes of the content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def command_line(command: str, quick: bool, options: Mapping[str, Any]) -> str:
    """A command of `python -m bundle` as a page shows it.

    Args:
        command: its name.
        quick: whether it was run with `--quick`.
        options: the values of other options, by their names; one that is None or empty was not given.
    """
    given = [f"--{name} {value}" for name, value in options.items() if value not in (None, "")]
    return " ".join([f"python -m bundle {command}", *["--quick"] * quick, *given])


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


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""
