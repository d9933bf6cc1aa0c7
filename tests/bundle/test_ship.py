"""Weights that ship are the ones that the record tells of."""

import json
import shutil

import pytest

from bundle.ship import ship
from scripts.workflow.weights import check_record
from tests.conftest import ROOT


def test_shipped_weights_pass_the_check_of_their_record(tmp_path):
    shutil.copytree(ROOT / "models", tmp_path / "models")
    new = tmp_path / "new.pt"
    new.write_bytes(b"other weights")
    before = json.loads((tmp_path / "models" / "provenance.json").read_text())
    digest = ship(new, tmp_path / "models")
    check_record(tmp_path / "models" / "model.pt")
    after = json.loads((tmp_path / "models" / "provenance.json").read_text())
    assert after["weights"]["sha256"] == digest != before["weights"]["sha256"]
    before["weights"]["sha256"] = digest
    assert after == before
    assert (tmp_path / "models" / "model.pt").read_bytes() == b"other weights"


def test_weights_that_are_not_there_leave_the_old_ones(tmp_path):
    shutil.copytree(ROOT / "models", tmp_path / "models")
    with pytest.raises(FileNotFoundError, match="weights '.*none.pt': expected the file of a training run"):
        ship(tmp_path / "none.pt", tmp_path / "models")
    check_record(tmp_path / "models" / "model.pt")
