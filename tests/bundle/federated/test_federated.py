import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle import federated
from bundle.__main__ import main
from bundle.federated.sites import SITES, make_site
from scripts.io import load_datalist
from scripts.networks import StrokeLesionNet
from scripts.phantom.case import sample_scan
from tests.conftest import ROOT

FLARE = "FLARE_PYTHON"
TINY = "--cases 2 1 1 --rounds 2 --local-epochs 1 --matrix 64 --features 2 2 4 4 4"
NAMES = [site.name for site in SITES]


def test_a_site_has_its_own_scanner_and_everything_else_at_random():
    scans = [sample_scan(np.random.SeedSequence(seed)) for seed in range(3)]
    for site in SITES:
        for scan, own in zip(scans, map(site.scan, scans), strict=True):
            for part, values in site.fixed.items():
                assert {name: getattr(getattr(own, part), name) for name in values} == values
            assert own.pose == scan.pose
            assert own.grid == scan.grid
            assert own.acquisition.noise_seed == scan.acquisition.noise_seed


def test_a_site_is_a_data_set_and_is_made_once(tmp_path):
    make_site(SITES[1], tmp_path, (1, 0, 1), seed=3, matrix=32)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    make_site(SITES[1], tmp_path, (1, 0, 1), seed=3, matrix=32)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (case,) = load_datalist(tmp_path / "datalist.json", "testing", tmp_path)
    assert {"image", "cbf", "label", "dwi"} <= case.keys()


@pytest.fixture
def settings(tmp_path):
    parser = argparse.ArgumentParser()
    federated.add_arguments(parser)
    args = parser.parse_args(["--out", str(tmp_path), *TINY.split()])
    return federated.job_settings(args, tmp_path / "initial.pt", features=[2, 4])


def test_the_job_has_the_network_and_each_site_its_own_data(settings, tmp_path):
    assert settings["network"] == {"path": "scripts.networks.StrokeLesionNet", "args": {"features": [2, 4]}}
    assert list(settings["sites"]) == NAMES
    for name, keys in settings["sites"].items():
        assert keys["dataset_dir"] == str(tmp_path / "data" / name)
        assert keys["features"] == [2, 4]
        assert name in keys["ckpt_dir"]
    assert (settings["rounds"], settings["local_epochs"]) == (2, 1)


@pytest.mark.skipif(FLARE not in os.environ, reason=f"{FLARE} names no Python with NVIDIA FLARE: see make test-flare")
def test_flare_writes_an_app_for_the_server_and_one_a_site(settings, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(settings))
    program = (
        "import json, sys; from bundle.federated.flare_job import make_job; "
        "make_job(**json.load(open(sys.argv[1] + '/job.json'))).export_job(sys.argv[1])"
    )
    command = [os.environ[FLARE], "-c", program, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    (job,) = (path.parent for path in tmp_path.rglob("meta.json"))
    assert json.loads((job / "meta.json").read_text())["min_clients"] == 3
    server = json.loads(next(job.glob("app_server/config/*server.json")).read_text())
    (persistor,) = (part["args"] for part in server["components"] if part["id"] == "persistor")
    assert persistor["model"] == settings["network"]
    assert persistor["source_ckpt_file_full_name"] == str(tmp_path / "initial.pt")
    (workflow,) = server["workflows"]
    assert (workflow["args"]["min_clients"], workflow["args"]["num_rounds"]) == (3, 2)
    for name in NAMES:
        client = json.loads(next(job.glob(f"app_{name}/config/*client.json")).read_text())
        (algorithm,) = (part["args"] for part in client["components"] if part["id"] == "algorithm")
        assert algorithm["train_kwargs"]["dataset_dir"] == str(tmp_path / "data" / name)
        assert algorithm["config_evaluate_filename"] == "configs/train.json"  # not the default of MonaiAlgo
    assert not list(job.rglob("custom/*"))  # nothing is copied: the bundle is at the site


def test_an_environment_without_flare_is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a Python with FLARE \(make env-flare\), got nothing"):
        federated.simulate(tmp_path / "python", tmp_path, rounds=1)


def test_a_simulation_that_does_not_finish_is_one_clear_error(tmp_path):
    with pytest.raises(OSError, match=r"did not finish its 1 rounds: see .*simulator\.log"):
        federated.simulate(Path(sys.executable), tmp_path, rounds=1)


def test_bad_rounds_are_named(tmp_path, capsys):
    assert main(["federated", "--out", str(tmp_path), "--rounds", "0"]) == 2
    assert "rounds, local-epochs and jobs: expected at least 1, got 0, 2 and 2" in capsys.readouterr().err


def test_the_page_has_the_mean_of_the_cases_with_a_lesion():
    """Every model finds all at home, half at the others; the last two find all, one of them less."""

    def rows(model, site):
        dice = {"federated": 0.75, "pooled": 1.0}.get(model, 1.0 if model == site else 0.5)
        lesions = [{"case": f"case_{i}", "dice": dice, "volume_ml": 20.0} for i in range(2)]
        return [*lesions, {"case": "case_9", "dice": 0.0, "volume_ml": 0.0}]

    measured = {(model, site): rows(model, site) for model in (*NAMES, "federated", "pooled") for site in NAMES}
    settings = {"cases": (4, 1, 3), "matrix": 64, "features": [2, 4], "rounds": 2, "local_epochs": 1, "epochs": 2}
    page = federated.federated_page(measured, settings, "commit abc, a machine")
    half, whole = "0.500 ± 0.000", "1.000 ± 0.000"
    assert f"| at site-1 alone | {whole} | {half} | {half} | 0.667 ± 0.236 |" in page
    assert f"| federated | {' | '.join(['0.750 ± 0.000'] * 4)} |" in page
    assert "has 1.000 on its own patients, in the mean over the sites, and 0.500 on those of the others" in page


def page_commands() -> list[str]:
    text = (ROOT / "docs" / "how-to" / "federated.md").read_text(encoding="utf-8")
    return re.findall(r"^    ((?:python|make) .+)$", text, flags=re.MULTILINE)


def test_the_page_shows_two_commands():
    assert [command.split()[0] for command in page_commands()] == ["make", "python"]
    assert re.search(r"^env-flare:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(FLARE not in os.environ, reason=f"{FLARE} names no Python with NVIDIA FLARE: see make test-flare")
def test_the_command_of_the_page_trains_in_flare(tmp_path):
    command = page_commands()[1].replace("runs/federated", str(tmp_path / "out"))
    page = tmp_path / "docs" / "results" / "federated.md"
    arguments = [*shlex.split(command)[1:], *TINY.split(), "--page", str(page)]
    flare = str(Path(os.environ[FLARE]).absolute())  # not resolved: it is a link, and its folder makes the environment
    result = subprocess.run(
        [sys.executable, *arguments, "--flare", flare], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "| federated |" in page.read_text()
    runs = tmp_path / "out" / "runs"
    weights = torch.load(runs / "federated" / "model.pt", weights_only=True)
    initial = torch.load(runs / "initial.pt", weights_only=True)
    StrokeLesionNet([2, 2, 4, 4, 4]).load_state_dict(weights)
    assert not torch.equal(weights["segmentor.output.weight"], initial["segmentor.output.weight"])
    for name in NAMES:
        last = torch.load(runs / "federated" / name / "models" / "checkpoint_last.pt", weights_only=True)
        assert last["trainer"]["epoch_length"] * 2 == last["trainer"]["iteration"]
