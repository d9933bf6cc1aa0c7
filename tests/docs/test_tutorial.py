"""The notebook runs from its first cell to its last, and shows what it printed."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from contextlib import redirect_stdout
from io import StringIO

import matplotlib
import pytest

from tests.conftest import ROOT
from tests.processes import run_python

NOTEBOOK = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
OUTPUTS = [output for cell in CODE for output in cell["outputs"]]
STORED = "".join("".join(output["text"]) for output in OUTPUTS if output["output_type"] == "stream")
MEASURES = re.compile(r"predicted ([\d.]+) ml, true ([\d.]+) ml, Dice ([\d.]+)")


def test_the_notebook_is_stored_with_its_outputs():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert not [output for output in OUTPUTS if output["output_type"] == "error"]
    pictures = [output["data"]["image/png"] for output in OUTPUTS if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    assert sum(len(base64.b64decode(picture)) for picture in pictures) < 300_000
    assert str(ROOT) not in json.dumps(NOTEBOOK)


@pytest.mark.slow
def test_the_code_runs_and_prints_what_is_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DIR", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", lambda command, cwd, **options: run_python(command[1:], cwd))
    monkeypatch.chdir(ROOT / "docs")
    printed, names = StringIO(), {"__name__": "__main__"}
    with redirect_stdout(printed), matplotlib.rc_context({"backend": "agg"}):
        for cell in CODE:
            exec(compile("".join(cell["source"]), "tutorial.ipynb", "exec"), names)  # noqa: S102
    found, stored = MEASURES.search(printed.getvalue()), MEASURES.search(STORED)
    assert [float(value) for value in found.groups()] == pytest.approx([*map(float, stored.groups())], rel=0.1)
    assert float(found[3]) > 0.6
    assert (tmp_path / "lesion" / "case_1" / "case_1_lesion.nii.gz").is_file()
