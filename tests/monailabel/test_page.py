"""The page that tells how: its commands, in its order; the fixture of the server runs those that start it."""

import json

import nibabel as nib
import pytest

from tests.monailabel.server import NAME, commands

pytestmark = pytest.mark.slow


def test_the_requests_of_the_page(server, studies, tmp_path):
    requests = [command for command in commands() if command.startswith("curl")]
    assert len(requests) >= 7
    answers = [server.run(request.replace("case_1", "ras"), tmp_path) for request in requests]
    assert NAME in json.loads(answers[0])["models"]
    mask, label = tmp_path / "ras_lesion.nii.gz", studies / "labels" / "final" / "ras.nii.gz"
    assert label.read_bytes() == mask.read_bytes()
    assert nib.load(mask).shape == nib.load(studies / "ras.nii.gz").shape[:3]
    assert "warnings" in json.loads(answers[2])
    assert server.wait_for_training()["status"] == "DONE"
    assert (server.bundle / "models" / "checkpoint_last.pt").is_file()
