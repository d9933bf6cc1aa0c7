"""The command: what it says, its exit status, and the same bytes as MONAI's own command."""

import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.cli import main
from scripts.networks import StrokeLesionNet
from scripts.workflow import options
from tests.conftest import ROOT

IMAGES = ("lesion", "probability", "pseudo_dwi")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of the shipped widths that segment something."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(StrokeLesionNet(features=(16, 32, 64, 128, 256)).state_dict(), path)
    return str(path)


@pytest.fixture
def segment(weights, tmp_path):
    """A function that segments into `out` and returns the exit status."""
    return lambda *words: main(
        ["segment", *map(str, words), "--out", str(tmp_path / "out"), "--weights", weights, "--no-mirror"]
    )


def volume_ml(path):
    lesion = nib.load(path)
    return lesion.get_fdata().sum() * abs(np.linalg.det(lesion.affine[:3, :3])) / 1000


def test_help_answers_at_once_and_imports_nothing_heavy():
    code = (
        "import sys, time; start = time.process_time()\n"
        "from scripts.cli import main\n"
        "for name in ('segment', 'maps', 'report', 'agreement', 'datalist', 'phantom', 'demo'):\n"
        "    assert main([name, '--help']) == 0\n"
        "print(time.process_time() - start)\n"
        "print(*{'torch', 'monai', 'matplotlib', 'nibabel', 'numpy', 'ignite'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *shown, seconds, imported, _ = done.stdout.split("\n")
    assert imported == ""
    assert float(seconds) < 1
    text = " ".join(" ".join(shown).split())
    assert all(words in text for words in ("Example: ctp-stroke segment ctp.nii.gz", "(ml)", "[default: 3.5]"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["segment", "x.nii", "--uot", "y"],
            "ctp-stroke segment: error: No such option: --uot (Possible options: --out",
        ),
        (
            ["segment", "x.nii", "--dt_s", "1"],
            "ctp-stroke segment: error: No such option: --dt_s (Possible options: --dt-s",
        ),
        (
            ["segment", "x.nii", "--out", "y"],
            "ctp-stroke segment: error: Invalid value for 'SERIES|FOLDER|DATALIST|STUDY...': path 'x.nii'",
        ),
        (["segment"], "ctp-stroke segment: error: Missing argument"),
        (["segmnt"], "ctp-stroke: error: No such command 'segmnt'. Did you mean 'segment'?"),
        (
            ["phantom", "--out", "y", "--split", "1/2"],
            "ctp-stroke phantom: error: Invalid value: expected three numbers of cases",
        ),
    ],
)
def test_a_mistyped_command_line_is_one_line(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_bad_value_of_a_config_key_is_one_line_and_debug_shows_where(dataset_dir, segment, capsys):
    words = [dataset_dir / "case_4" / "image.nii", "--device", "gpu"]
    assert segment(*words) == 2
    message = "ctp-stroke: error: device: expected a device such as cpu, cuda or cuda:1, got 'gpu'\n"
    assert capsys.readouterr().err == message
    assert segment(*words, "--debug") == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_bad_case_does_not_stop_the_others_and_what_is_done_is_not_done_again(dataset_dir, segment, tmp_path, capsys):
    series = tmp_path / "series"
    for name, source in (("a", "case_4"), ("b", "case_5")):
        (series / name).mkdir(parents=True)
        shutil.copy(dataset_dir / source / "image.nii", series / name / "ctp.nii")
    shutil.copy(dataset_dir / "case_4" / "cbf.nii", series / "a" / "cbf.nii")  # 3D: not a case
    (series / "bad.nii").write_bytes((series / "a" / "ctp.nii").read_bytes()[:9000])

    assert segment(series) == 1
    captured = capsys.readouterr()
    out = tmp_path / "out"
    ml = {name: volume_ml(out / name / f"{name}_lesion.nii.gz") for name in ("a_ctp", "b_ctp")}
    for name in ml:
        assert f"{name}: predicted lesion {ml[name]:.1f} ml; {out / name}\n" in captured.out
        assert (out / name / f"{name}_panel.png").read_bytes().startswith(b"\x89PNG")
    assert "error: case 'bad', image " in captured.err
    assert captured.err.endswith("1 of 3 cases failed: bad\n")
    with (out / "cases.csv").open() as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == ["a_ctp", "b_ctp"]

    shutil.copy(series / "a" / "ctp.nii", series / "bad.nii")
    times = {name: (out / name / f"{name}_lesion.nii.gz").stat().st_mtime_ns for name in ml}
    assert segment(series) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "warning" not in line]
    assert [line.split(":")[:2] for line in lines[:2]] == [[name, " complete already"] for name in ml]
    assert lines[2].startswith("bad: predicted lesion")
    assert times == {name: (out / name / f"{name}_lesion.nii.gz").stat().st_mtime_ns for name in ml}

    # Another option, or the same bytes no longer, is another result.
    assert segment(series / "a", "--min-lesion-ml", "0") == 0
    assert "complete already" not in capsys.readouterr().out
    frames = nib.load(series / "a" / "ctp.nii").shape[3]
    (series / "a" / "ctp.json").write_text(json.dumps({"FrameTimesStart": [1.5 * frame for frame in range(frames)]}))
    for expected in (False, True):
        assert segment(series / "a", "--min-lesion-ml", "0") == 0
        assert ("complete already" in capsys.readouterr().out) == expected
    assert segment(series / "a", "--min-lesion-ml", "0", "--overwrite") == 0
    assert "complete already" not in capsys.readouterr().out


def test_a_datalist_with_maps_gives_the_bytes_of_monai_s_command(dataset_dir, segment, weights, tmp_path, capsys):
    assert segment(dataset_dir / "datalist.json", "--maps") == 0
    printed = capsys.readouterr().out
    assert "case_4: predicted lesion" in printed
    assert "true lesion" in printed
    assert {"case_4_tmax.nii.gz", "summary.json"} <= {path.name for path in (tmp_path / "out" / "case_4").iterdir()}
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(ROOT / "configs" / "inference.json")]
    pairs = {"dataset_dir": dataset_dir, "output_dir": tmp_path / "other", "ckpt_path": weights, "mirror": False}
    words = [str(word) for key, value in pairs.items() for word in (f"--{key}", value)]
    subprocess.run([*command, *words], cwd=tmp_path, env=clean_environment(), capture_output=True, check=True)
    for name in ("case_4", "case_5"):
        same_bytes(tmp_path / "out", tmp_path / "other", name)


def same_bytes(first, second, case):
    for image in IMAGES:
        name = Path(case, f"{case}_{image}.nii.gz")
        assert (first / name).read_bytes() == (second / name).read_bytes()


def clean_environment():
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_demo_makes_segments_and_draws_a_case(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path), "--matrix", "64"]) == 0
    ml = volume_ml(tmp_path / "case_1" / "case_1_lesion.nii.gz")
    assert f"case_1: predicted lesion {ml:.1f} ml, true lesion " in capsys.readouterr().out
    assert (tmp_path / "case_1" / "case_1_panel.png").is_file()
    assert (tmp_path / "cases.csv").is_file()


def test_no_default_output_lies_in_an_installed_package(monkeypatch):
    monkeypatch.setattr(options, "is_installed", lambda: True)
    for config, key in (("inference", "output_dir"), ("train", "ckpt_dir"), ("evaluate", "output_dir")):
        content = json.loads((ROOT / "configs" / f"{config}.json").read_text())
        given = {"output_dir": "runs"} if config == "train" else {}
        with pytest.raises(options.OptionError, match=f"^{key}: expected a folder of yours"):
            options._check_outputs({**content, **given})
        options._check_outputs({**content, "output_dir": "runs", "ckpt_dir": "runs"})


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The `bin` of an environment with a wheel of the tracked files, and beside it what this environment has."""
    folder = tmp_path_factory.mktemp("installed")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if not name.startswith("tests/") and (ROOT / name).is_file():
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    venv.create(folder / "venv", with_pip=False)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    (site / "beside.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "-w", folder, folder / "source"], check=True, capture_output=True)
    wheel = next(folder.glob("*.whl"))
    python = folder / "venv" / "bin" / "python"
    # What this environment has of the package is not to be removed, nor to be taken for installed.
    options = [*offline, "--ignore-installed"]
    subprocess.run([*pip, "--python", python, "install", *options, wheel], check=True, capture_output=True)
    return site


@pytest.mark.slow
def test_the_commands_of_the_readme_in_an_empty_folder_of_an_installed_environment(installed, write_case, tmp_path):
    root = installed / "ctp_stroke_lesion_segmentation"
    tracked = subprocess.run(["git", "ls-files", "scripts"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in tracked.stdout.split() if (ROOT / name).is_file()} == {
        str(path.relative_to(root))
        for path in root.glob("scripts/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert (root / "models" / "model.pt").read_bytes() == (ROOT / "models" / "model.pt").read_bytes()
    assert (root / "docs" / "data_license.txt").is_file()
    before = {path for path in root.rglob("*") if "__pycache__" not in path.parts}
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "ctp.nii.gz").write_bytes(gzip.compress(Path(write_case(shape=(64, 64, 2))["image"]).read_bytes()))

    def run(*words):
        """Run a program of the environment, without PYTHONPATH."""
        path = f"{installed.parents[2] / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            words, cwd=empty, env=clean_environment() | {"PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    readme = re.findall(r"\| `(ctp-stroke [^`]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {command.split()[1] for command in readme} == {*("segment", "maps", "report", "datalist", "phantom", "demo")}
    printed = {}
    for command in readme:
        if "TRAINING" in command:
            (empty / "data" / "phantom").rename(empty / "TRAINING")
        small = {"phantom": ["--matrix", "64"], "demo": ["--matrix", "64"]}.get(command.split()[1], [])
        printed[command] = run(*command.replace("--cases 94", "--cases 4").split(), *small)
    assert printed["ctp-stroke segment ctp.nii.gz --out results"].startswith("ctp: predicted lesion ")
    assert "case_4: predicted lesion" in printed["ctp-stroke segment data/phantom --out results"]
    assert {path.name for path in empty.iterdir()} == {"ctp.nii.gz", "results", "maps", "demo", "data", "TRAINING"}

    config = ["--config_file", str(root / "configs" / "inference.json")]
    run("python", "-m", "monai.bundle", "run", *config, "--image", "ctp.nii.gz", "--output_dir", "other")
    same_bytes(empty / "results", empty / "other", "ctp")
    assert {path for path in root.rglob("*") if "__pycache__" not in path.parts} == before
