import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from bundle.experiments.plan import TEST, Job, Setting, ensemble_job, plan_jobs
from bundle.experiments.rows import Row
from scripts.networks import StrokeLesionNet
from tests.conftest import ROOT, SMALL


@pytest.fixture
def row(dataset_dir: Path) -> Row:
    """The end-to-end row at small widths."""
    overlay = json.loads((ROOT / "configs" / "experiments" / "table5_dwi_olh.json").read_text())
    path = dataset_dir / "table5_small.json"
    path.write_text(json.dumps(overlay | SMALL | {"min_lesion_ml": 0.0}))
    return Row("table5", "small", path)


def evaluate(job: Job) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
    """The probabilities of the cases, and the rows of metrics.csv."""
    step = job.step(TEST)
    settings = job.folder / "settings.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(step.settings))
    configs = [str(path) for path in (*step.configs, settings)]
    workflow = ConfigWorkflow(configs, workflow_type="infer", logging_file=False)
    workflow.initialize()
    probabilities = {}

    def keep(engine: Any) -> None:
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            probabilities[batch["case"]] = output["probability"].as_tensor()

    workflow.parser.get_parsed_content("evaluator").add_event_handler(Events.ITERATION_COMPLETED, keep)
    workflow.run()
    with (job.folder / TEST / "metrics.csv").open(newline="") as stream:
        return probabilities, list(csv.DictReader(stream))


@pytest.mark.slow
def test_the_ensemble_averages_the_probabilities_of_its_networks(row: Row, dataset_dir: Path) -> None:
    setting = Setting(dataset_dir, dataset_dir / "datalist.json", dataset_dir / "out")
    folds = [plan_jobs([row], replace(setting, epochs=i))[row.key] for i in (1, 2)]
    for index, fold in enumerate(folds):
        torch.manual_seed(index)
        fold.model.parent.mkdir(parents=True)
        torch.save(StrokeLesionNet(features=SMALL["features"]).state_dict(), fold.model)
    single = [evaluate(fold)[0] for fold in folds]
    together, rows = evaluate(ensemble_job(row, folds, setting))
    assert set(together) == {"case_2", "case_3", "case_4"}
    for case, probability in together.items():
        torch.testing.assert_close(probability, (single[0][case] + single[1][case]) / 2, atol=1e-5, rtol=0)
        assert not torch.allclose(single[0][case], single[1][case], atol=1e-3)
    assert [bool(row["ssim"]) for row in rows] == [True, False, True]  # one case has no DWI
