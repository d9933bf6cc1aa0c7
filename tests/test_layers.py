"""Imports inside `scripts` go down only, and the drawing of its rooms in CONTRIBUTING.md is the code's."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.conftest import ROOT

LAYERS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("workflow", "phantom"),
    ("datasets",),
    ("dicom",),
    ("report",),
    ("transforms", "metrics"),
    ("perfusion", "networks", "losses"),
    ("io",),
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
EXCEPTIONS = {
    # Phi_c is a network that is part of a loss: it maps two images to the codes that the contextual loss compares.
    ("scripts.losses.stroke_lesion_loss", "scripts.networks.context_encoder"),
}


def modules(package: str = "scripts") -> dict[str, tuple[ast.Module, bool]]:
    """The syntax tree of each module by its name, and whether it is a package."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        found[".".join(parts[:-1] if is_package else parts)] = (ast.parse(path.read_text(encoding="utf-8")), is_package)
    return found


MODULES = modules()


def targets(name: str, tree: ast.Module, is_package: bool, known: dict) -> set[str]:
    """What a module imports, wherever the statement stands: a known module, or the name as written."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = name.split(".")[: len(name.split(".")) - node.level + is_package] if node.level else []
            base = ".".join([*home, *([node.module] if node.module else [])])
            found |= {full if (full := f"{base}.{alias.name}") in known else base for alias in node.names}
    return found - {name}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


IMPORTS = {name: targets(name, *parsed, MODULES) for name, parsed in MODULES.items()}
INNER = {(name, target) for name, found in IMPORTS.items() for target in found if target.split(".")[0] == "scripts"}
BETWEEN_ROOMS = {(name, target) for name, target in INNER if room(name) and room(name) != room(target)}


def cycle(edges: set[tuple[str, str]]) -> list[str]:
    """One cycle of imports; empty if there is none. A package and its modules import each other by nature."""
    graph: dict[str, set[str]] = {}
    for name, target in edges:
        if not MODULES[name][1] and not MODULES[target][1]:
            graph.setdefault(name, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_room_has_its_layer():
    rooms = {room(name) for name in MODULES if room(name)}
    assert rooms <= set(RANK), "give the new room a layer here and a place in the drawing of CONTRIBUTING.md"


def test_imports_between_rooms_go_down():
    upward = {(name, target) for name, target in BETWEEN_ROOMS if RANK[room(name)] >= RANK[room(target)]}
    assert upward == EXCEPTIONS


def test_no_module_imports_itself_through_others():
    assert cycle(INNER) == []


def test_the_exceptions_are_needed():
    assert EXCEPTIONS <= INNER


def test_imports_inside_are_relative():
    absolute = [
        f"{name}: {node.module}"
        for name, (tree, _) in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "scripts"
        if name != "scripts.__main__"  # which puts `scripts` on the path
    ]
    assert not absolute


def test_the_product_does_not_import_the_makers_side():
    wrong = {(n, t) for n, found in IMPORTS.items() for t in found if t.split(".")[0] in ("bundle", "tests")}
    assert not wrong


def test_contributing_draws_the_rooms_as_they_are():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawing = re.search(r"```mermaid\n(.*?)```", text, re.DOTALL)[1]
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+)$", drawing, re.MULTILINE))
    actual = {(room(name), room(target)) for name, target in BETWEEN_ROOMS}
    assert drawn == actual, "lines to add and to remove: " + ", ".join(
        [f"+ {a} --> {b}" for a, b in sorted(actual - drawn)] + [f"- {a} --> {b}" for a, b in sorted(drawn - actual)]
    )
    assert set(re.findall(r"^\s*(\w+)\[", drawing, re.MULTILINE)) == {room(name) for name in MODULES if room(name)}


@pytest.mark.parametrize(
    ("name", "is_package", "code", "expected"),
    [
        ("scripts.io.case", False, "from .errors import CaseError", "scripts.io.errors"),
        ("scripts.io", True, "from .errors import CaseError", "scripts.io.errors"),
        ("scripts.metrics.case", False, "def f():\n    from ..io import errors", "scripts.io.errors"),
        ("scripts.metrics", True, "from ..io import errors, CaseError", "scripts.io"),
        ("scripts.metrics.case", False, "import bundle.run", "bundle.run"),
        ("scripts.metrics.case", False, "from bundle import steps", "bundle"),
    ],
)
def test_an_import_is_found(name, is_package, code, expected):
    assert expected in targets(name, ast.parse(code), is_package, MODULES)
