import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bundle import federated
from bundle.__main__ import main
from bundle.federated.sites import SITES
from scripts.io import SECTIONS, load_datalist
from scripts.networks import StrokeLesionNet
from scripts.phantom import ensure_cohort
from scripts.phantom.case import sample_scan
from tests.bundle.experiments.conftest import as_csv, metrics_of
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


def test_a_site_is_a_data_set_of_its_scanner(tmp_path):
    datalist = ensure_cohort(tmp_path / "site", (0, 0, 1), seed=3, matrix=32, workers=1, scanner=SITES[1].scan)
    (case,) = load_datalist(datalist, "testing", datalist.parent)
    assert {"image", "cbf", "label", "dwi"} <= case.keys()
    assert nib.load(case["image"]).header["pixdim"][4] == SITES[1].fixed["acquisition"]["frame_interval_s"]


@pytest.fixture
def settings(tmp_path):
    parser = argparse.ArgumentParser()
    federated.add_arguments(parser)
    args = parser.parse_args(["--out", str(tmp_path), *TINY.split()])
    return federated.job_settings(args, tmp_path / "initial.pt", {"features": [2, 4]})


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


@pytest.mark.parametrize("printed", ["Round 0 finished.", "Round 1 finished.", "aborted"])
def test_a_simulation_is_finished_by_its_last_round_and_its_weights(tmp_path, printed):
    (flare := tmp_path / "python").write_text(f"#!/bin/sh\necho $1 $2 $PYTHONPATH\necho {printed}\n")
    flare.chmod(0o700)
    not_finished = pytest.raises(OSError, match=r"did not finish its 2 rounds: see .*simulator\.log")
    with not_finished:
        federated.simulate(flare, tmp_path, rounds=2)
    (average := tmp_path / "workspace/server/simulate_job/app_server/FL_global_model.pt").parent.mkdir(parents=True)
    average.touch()
    with not_finished if printed != "Round 1 finished." else nullcontext():
        assert federated.simulate(flare, tmp_path, rounds=2) == average
    script = ROOT / "bundle" / "federated" / "flare_job.py"
    assert (tmp_path / "simulator.log").read_text().split("\n")[0] == f"{script} {tmp_path} {ROOT}"


def test_every_model_begins_with_the_same_weights_and_is_tested_at_every_site(tmp_path, monkeypatch):
    trained, tested = {}, []

    def run_workflow(config, **keys):
        if config == "train":
            trained[Path(keys["dataset_dir"]).name] = keys
        else:
            tested.append((Path(keys["ckpt_path"]), Path(keys["dataset_dir"]).name))
            (out := Path(keys["output_dir"])).mkdir(parents=True)
            (out / "metrics.csv").write_text(as_csv(metrics_of(np.full(3, 0.5))))

    def simulate(flare, folder, rounds):
        settings = json.loads((folder / "job.json").read_text())
        torch.save({"model": torch.load(settings["initial"], weights_only=True)}, folder / "average.pt")
        return folder / "average.pt"

    def ensure_cohort(folder, counts, seed, *, matrix, scanner):
        case = {"image": "case_1/image.nii", "case": "case_1", "subject": "a"}
        (folder / "case_1").mkdir(parents=True)
        (folder / "case_1" / "image.nii").touch()
        (folder / "datalist.json").write_text(json.dumps(dict.fromkeys(SECTIONS, [case])))

    for stand_in in (run_workflow, simulate, ensure_cohort):
        monkeypatch.setattr(federated, stand_in.__name__, stand_in)
    monkeypatch.setattr(federated, "load_datalist", lambda *arguments: None)
    page = tmp_path / "federated.md"
    assert main(["federated", "--out", str(tmp_path / "out"), "--page", str(page), *TINY.split()]) == 0
    assert set(trained) == {*NAMES, "data"}
    assert {keys["pretrained"] for keys in trained.values()} == {str(tmp_path / "out" / "runs" / "initial.pt")}
    assert {keys["epochs"] for keys in trained.values()} == {2}
    models = {path for path, _ in tested}
    assert set(tested) == {(model, name) for model in models for name in NAMES}
    assert len(models) == 5
    assert tmp_path / "out" / "runs" / "federated" / "model.pt" in models
    pooled = json.loads((tmp_path / "out" / "data" / "datalist.json").read_text())
    assert [case["image"] for case in pooled["training"]] == [f"{name}/case_1/image.nii" for name in NAMES]
    assert "| pooled | 0.500 ± 0.000 |" in page.read_text()


def test_bad_rounds_are_named(tmp_path, capsys):
    assert main(["federated", "--out", str(tmp_path), "--rounds", "0"]) == 2
    assert "rounds and local-epochs: expected at least 1, got 0 and 2" in capsys.readouterr().err


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
