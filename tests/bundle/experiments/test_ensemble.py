import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from bundle.experiments.plan import MODEL, Plan, Setting, Step
from bundle.experiments.rows import Row
from bundle.run import config_files
from scripts.networks import StrokeLesionNet
from tests.conftest import ROOT, SMALL


@pytest.fixture
def row(dataset_dir: Path) -> Row:
    """The end-to-end row at small widths."""
    overlay = json.loads((ROOT / "configs" / "experiments" / "table5_dwi_olh.json").read_text())
    path = dataset_dir / "table5_small.json"
    path.write_text(json.dumps(overlay | SMALL | {"min_lesion_ml": 0.0}))
    return Row("table5", "small", (path,))


def evaluate(step: Step) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
    """The probabilities of the cases, and the rows of metrics.csv."""
    configs = [str(path) for path in (*config_files(step["config"]), *step["overlays"])]
    workflow = ConfigWorkflow(configs, workflow_type="infer", logging_file=False, **step["overrides"])
    workflow.initialize()
    probabilities = {}

    def keep(engine: Any) -> None:
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            probabilities[batch["case"]] = output["probability"].as_tensor()

    workflow.parser.get_parsed_content("validate#evaluator").add_event_handler(Events.ITERATION_COMPLETED, keep)
    workflow.run()
    with (Path(step["overrides"]["output_dir"]) / "metrics.csv").open(newline="") as stream:
        return probabilities, list(csv.DictReader(stream))


@pytest.mark.slow
def test_the_ensemble_averages_the_probabilities_of_its_networks(row: Row, dataset_dir: Path) -> None:
    sections = json.loads((dataset_dir / "datalist.json").read_text())
    (dataset_dir / "datalist.json").write_text(json.dumps(sections | {"validation": sections["training"][1:]}))
    plan = Plan([row], Setting(dataset_dir, dataset_dir / "out", folds=2))
    for seed, run in enumerate(plan.runs["table5_small"]):
        torch.manual_seed(seed)
        (model := plan.setting.folder / run / MODEL).parent.mkdir(parents=True)
        torch.save(StrokeLesionNet(features=SMALL["features"]).state_dict(), model)
    single = [evaluate(plan.steps[f"{run}/testing"])[0] for run in plan.runs["table5_small"]]
    together, rows = evaluate(plan.steps["table5_small_ensemble/testing"])
    assert set(together) == {"case_2", "case_3", "case_4"}
    for case, probability in together.items():
        torch.testing.assert_close(probability, (single[0][case] + single[1][case]) / 2, atol=1e-5, rtol=0)
        assert not torch.allclose(single[0][case], single[1][case], atol=1e-3)
    assert [bool(row["ssim"]) for row in rows] == [True, False, True]  # one case has no DWI
