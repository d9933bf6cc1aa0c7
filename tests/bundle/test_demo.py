from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bundle.__main__ import main
from scripts.networks import StrokeLesionNet


@pytest.mark.slow
def test_demo_makes_segments_and_draws_a_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "model.pt"
    torch.save(StrokeLesionNet(features=(16, 32, 64, 128, 256)).state_dict(), weights)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--ckpt-path", str(weights)]) == 0
    printed = capsys.readouterr().out
    lesion = nib.load(out / "case_1" / "case_1_lesion.nii.gz")
    volume_ml = lesion.get_fdata().sum() * abs(np.linalg.det(lesion.affine[:3, :3])) / 1000
    assert f"case_1: predicted lesion {volume_ml:.1f} ml, true lesion " in printed
    assert (out / "case_1.png").is_file()
    assert (out / "cases.csv").is_file()


def test_missing_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path), "--ckpt-path", "none.pt"]) == 2
    assert capsys.readouterr().err == "error: ckpt_path 'none.pt': expected the weights, got nothing there\n"


def test_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    listed = capsys.readouterr().out
    assert all(command in listed for command in ("demo", "panel", "results"))
