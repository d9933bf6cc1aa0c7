"""Training and evaluation in two processes on a CPU, compared with one process with the doubled batch."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow
from torch import distributed

from scripts.io.nifti import write_nifti
from scripts.metrics import CaseMetrics
from scripts.transforms import CasePreprocessing
from tests.conftest import ROOT, SMALL, axial_affine, bolus, config_files
from tests.processes import PROCESSES, free_port, run_in_two
from tests.workflow.test_train import same, state

ITEMS = 2  # of each process in a step; 12 slices make three steps
# In networks of two channels rounding grows ten thousandfold, and Adam, which divides a gradient by its size, makes a
# whole step of it: what is to be equal is compared in float64 and with SGD.
EXACT = {
    "optimizer#_target_": "torch.optim.SGD",
    "learning_rate": 0.01,
    "train#trainer#to_kwargs": {"dtype": "$torch.float64"},
    "validation_handler#_disabled_": True,  # images to validate on are float32
}
STAGES = {
    "stages": [["extractor"], ["generator", "segmentor"]],
    "network_def#detached": ["high_level_feature", "pseudo_dwi"],
    "epochs": 1,
}


@contextmanager
def double_precision() -> Iterator[None]:
    """Let new tensors, and what the training would hold in float32, be float64; cases are prepared as always."""
    single, prepare = torch.Tensor.float, CasePreprocessing.__call__

    def prepared(preprocessing: CasePreprocessing, *arguments: Any, **options: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "float", single)
            torch.set_default_dtype(torch.float32)
            try:
                return prepare(preprocessing, *arguments, **options)
            finally:
                torch.set_default_dtype(torch.float64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        patch.setattr(CasePreprocessing, "__call__", prepared)
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


def write_data(folder: Path) -> None:
    """Four training cases of three slices, of which the second has no DWI, one to validate and three to test."""
    cases = []
    x, y = np.meshgrid(*[np.linspace(-1, 1, 32)] * 2, indexing="ij")
    brain = np.repeat(((x**2 + y**2) < 0.64)[..., None], 3, axis=2)
    for index in range(8):
        generator = np.random.default_rng(index)
        lesion = np.zeros((32, 32, 3))
        lesion[8 + index : 16 + index, 6:12] = 1
        volumes = {
            "image": np.where(
                brain[..., None],
                35 + generator.normal(0, 1, (32, 32, 3, 20)) + (15 - 10 * lesion[..., None]) * bolus(),
                -1000.0,
            ),
            "label": lesion,
            "cbf": brain * (generator.uniform(40, 60, lesion.shape) - 35 * lesion),
            "cbv": brain * (generator.uniform(3, 4, lesion.shape) - 2 * lesion),
            "mtt": brain * (generator.uniform(3, 5, lesion.shape) + 5 * lesion),
            "tmax": brain * (generator.uniform(0.5, 2, lesion.shape) + 7 * lesion),
            **({} if index == 1 else {"dwi": 300 + 600 * lesion + generator.normal(0, 5, lesion.shape)}),
        }
        for key, volume in volumes.items():
            write_nifti(folder / f"{index}_{key}.nii", volume.astype(np.float32), axial_affine(), dt_s=1.5)
        cases.append({"case": f"case_{index}", **{key: f"{index}_{key}.nii" for key in volumes}})
    sections = {"training": cases[:4], "validation": cases[4:5], "testing": cases[5:]}
    (folder / "datalist.json").write_text(json.dumps(sections))


def configured(name: str, folder: Path, results: Path, **overrides: Any) -> ConfigWorkflow:
    """A workflow of a config with its overlay, which leaves its results in ``results``."""
    paths = {"dataset_dir": str(folder), "output_dir": str(results / "eval"), "ckpt_dir": str(results / "models")}
    workflow = ConfigWorkflow(
        config_file=config_files(name, f"multi_gpu_{name}"),
        logging_file=False,
        workflow_type="train",
        **{**SMALL, "use_given_maps": True, "epochs": 2, "batch_size": ITEMS, **paths, **overrides},
    )
    workflow.initialize()
    return workflow


def curve(workflow: ConfigWorkflow) -> list[dict[str, float]]:
    """Run training; returns what is logged of each step: the loss and its terms."""
    parser = workflow.parser
    trainer, terms = parser.get_parsed_content("train#trainer"), parser.get_parsed_content("train#loss_terms")
    logged: list[dict[str, float]] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: logged.append(terms(engine.state.output)))
    workflow.run()
    return logged


def encoder_biases(workflow: ConfigWorkflow) -> list[float]:
    """The biases of the loss's context encoder."""
    parameters = workflow.parser.get_parsed_content("loss_function").context_encoder.named_parameters()
    return [value for name, parameter in parameters if name.endswith("bias") for value in parameter.tolist()]


def share(rank: int, folder_name: str) -> None:
    """What a process does; each has a folder of its own for its results, so that one sees who writes what."""
    folder = Path(folder_name)
    own = folder / f"rank{rank}"
    found: dict[str, Any] = {}
    with double_precision():
        workflow = configured("train", folder, own / "synchronized", synchronize_norms=True, **EXACT)
        found["synchronized"] = curve(workflow)
        found["encoder"] = encoder_biases(workflow)
        overrides = {**EXACT, **STAGES, "synchronize_norms": True}
        found["stages"] = curve(configured("train", folder, own / "stages", **overrides))
    workflow = configured("train", folder, own / "apart")
    workflow.parser.get_parsed_content("train#trainer")  # first: the order of parts decides about their random numbers
    network = workflow.parser.get_parsed_content("network")
    found["validated"] = []
    workflow.parser.get_parsed_content("validate#evaluator").add_event_handler(
        Events.STARTED,
        lambda: found["validated"].append([float(value.sum()) for value in network.state_dict().values()]),
    )
    found["apart"] = curve(workflow)
    found["dice"] = workflow.parser.get_parsed_content("validate#evaluator").state.metrics["val_mean_dice"]
    found["handlers"] = handler_names(workflow)

    common = folder / "resumed"
    interrupted = configured("train", folder, common)
    trainer = interrupted.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED(once=2), lambda engine: engine.terminate())
    interrupted.run()
    distributed.barrier()
    found["resumed"] = curve(configured("train", folder, common, resume=True))

    ckpt_path = str(folder / "rank0" / "apart" / "models" / "model.pt")
    evaluation = configured("evaluate", folder, own / "evaluation", ckpt_path=ckpt_path)
    metrics = next(h for h in evaluation.parser.get_parsed_content("validate#handlers") if isinstance(h, CaseMetrics))
    evaluator = evaluation.parser.get_parsed_content("validate#evaluator")
    scored: list[str] = []
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: scored.extend(item["case"] for item in engine.state.batch)
    )
    evaluation.run()
    found["scored"], found["rows"] = scored, [row["case"] for row in metrics.rows]
    evaluation.finalize()
    (folder / f"{rank}.json").write_text(json.dumps(found))


def handler_names(workflow: ConfigWorkflow) -> dict[str, list[str]]:
    """The handlers of the training and of its validation."""
    ids = {"train": "train#trainer#train_handlers", "validate": "validate#handlers"}
    return {
        name: [type(handler).__name__ for handler in workflow.parser.get_parsed_content(id)] for name, id in ids.items()
    }


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder and what each process found."""
    folder = tmp_path_factory.mktemp("processes")
    write_data(folder)
    run_in_two(share, str(folder))
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.fixture(scope="module")
def one_process(two_processes: tuple[Path, list[dict[str, Any]]]) -> dict[str, Any]:
    """What one process with the doubled batch finds, on the same data."""
    folder, _ = two_processes
    found: dict[str, Any] = {"apart": curve(alone(folder, "apart"))}
    with double_precision():
        workflow = alone(folder, "synchronized", **EXACT)
        found["synchronized"] = curve(workflow)
        found["encoder"] = encoder_biases(workflow)
        found["stages"] = curve(alone(folder, "stages", **EXACT, **STAGES))
    return found


def alone(folder: Path, name: str, **overrides: Any) -> ConfigWorkflow:
    """A training run in one process with the doubled batch."""
    workflow = ConfigWorkflow(
        config_file=str(ROOT / "configs" / "train.json"),
        logging_file=False,
        workflow_type="train",
        **{**SMALL, "use_given_maps": True, "epochs": 2, "batch_size": PROCESSES * ITEMS, **overrides},
        dataset_dir=str(folder),
        output_dir=str(folder / "one" / name / "eval"),
        ckpt_dir=str(folder / "one" / name / "models"),
    )
    workflow.initialize()
    return workflow


def assert_same_curve(
    ours: list[dict[str, float]], other: list[dict[str, float]], tolerance: float, growth: float = 1
) -> None:
    assert len(ours) == len(other) == 6
    for step, (values, expected) in enumerate(zip(ours, other, strict=True)):
        assert values == pytest.approx(expected, rel=tolerance * growth**step), f"step {step}"


@pytest.mark.slow
def test_with_synchronized_statistics_the_curve_is_that_of_the_doubled_batch(two_processes, one_process):
    _, (first, second) = two_processes
    assert first["synchronized"] == second["synchronized"]
    assert_same_curve(first["synchronized"], one_process["synchronized"], 1e-9, growth=2)  # that of rounding


@pytest.mark.slow
def test_with_statistics_of_each_process_the_curve_is_near_it(two_processes, one_process):
    _, (first, _) = two_processes
    ours, other = ([step["loss"] for step in steps] for steps in (first["apart"], one_process["apart"]))
    assert ours == pytest.approx(other, rel=0.1)
    assert ours != pytest.approx(other, rel=1e-4)


@pytest.mark.slow
def test_stages_freeze_the_same_parts(two_processes, one_process):
    _, (first, _) = two_processes
    assert_same_curve(first["stages"], one_process["stages"], 1e-9)


@pytest.mark.slow
def test_the_context_encoder_learns_from_all_processes(two_processes, one_process):
    _, (first, second) = two_processes
    assert first["encoder"] == second["encoder"]
    ours, other = np.array(first["encoder"]), np.array(one_process["encoder"])
    assert np.abs(other).max() > 1e-4  # biases start at 0
    np.testing.assert_allclose(ours, other, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_one_process_writes(two_processes):
    folder, _ = two_processes
    assert {path.name for path in (folder / "rank0" / "apart" / "models").iterdir()} == {
        "model.pt",
        "checkpoint_last.pt",
    }
    assert list((folder / "rank0" / "apart" / "eval").glob("events*"))
    assert not [path for path in (folder / "rank1").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_one_process_logs(two_processes):
    _, (first, second) = two_processes
    logging = {"ProgressBar", "SampleImages", "StatsHandler", "TensorBoardStatsHandler"}
    for part in ("train", "validate"):
        assert logging & set(first["handlers"][part])
        assert second["handlers"][part] == [name for name in first["handlers"][part] if name not in logging]


@pytest.mark.slow
def test_a_resumed_training_ends_with_the_same_bits(two_processes):
    folder, (first, second) = two_processes
    assert len(first["resumed"]) == 3
    assert first["resumed"] == second["resumed"] == first["apart"][3:]
    for name in ("checkpoint_last.pt", "model.pt"):
        assert same(state(folder / "rank0" / "apart" / "models" / name), state(folder / "resumed" / "models" / name))


@pytest.mark.slow
def test_all_processes_validate_the_network_that_is_saved(two_processes):
    folder, (first, second) = two_processes
    assert len(first["validated"]) == 2
    assert first["validated"] == second["validated"]
    saved = state(folder / "rank0" / "apart" / "models" / "checkpoint_last.pt")["model"]
    assert first["validated"][-1] == [float(value.sum()) for value in saved.values()]


@pytest.mark.slow
def test_every_case_is_scored_once(two_processes):
    folder, (first, second) = two_processes
    assert first["dice"] == second["dice"]
    cases = ["case_5", "case_6", "case_7"]
    assert sorted(first["scored"] + second["scored"]) == cases
    assert sorted(first["rows"]) == sorted(second["rows"]) == cases
    rows = (folder / "rank0" / "evaluation" / "eval" / "metrics.csv").read_text().splitlines()
    assert sorted(row.split(",")[0] for row in rows[1:]) == cases


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_an_overlay_names_nothing_that_its_config_does_not_have(name):
    """A renamed key of the config would leave the overlay's without effect."""
    config = ConfigParser.load_config_files(config_files(name))
    overlay = ConfigParser.load_config_file(ROOT / "configs" / f"multi_gpu_{name}.json")
    parser = ConfigParser(config)
    new = {"+imports", "+finalize", "backend", "synchronize_norms", "finalize", "initialize"}
    for key in overlay.keys() - new:
        parent = key.rpartition("#")[0]
        assert not parent or parent in parser, key


def page_commands() -> list[str]:
    text = (ROOT / "docs" / "how-to" / "multi-gpu.md").read_text(encoding="utf-8")
    return re.findall(r"^    (torchrun .+)$", text, flags=re.MULTILINE)


def start(command: str, folder: Path, results: Path, **options: str) -> subprocess.Popen:
    """Start a command of the page with this interpreter, on the small data set and from another directory."""
    arguments = shlex.split(command.replace("configs/", f"{ROOT}/configs/"))
    for index, argument in enumerate(arguments):
        name = argument.partition("=")[0]
        if name in options:
            arguments[index] = f"{name}={options[name]}"
    paths = {"dataset_dir": folder, "output_dir": results / "eval", "ckpt_dir": results / "models"}
    for name, value in {**SMALL, "use_given_maps": True, "batch_size": ITEMS, **paths}.items():
        arguments += [f"--{name}", str(value)]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *arguments[1:]],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes: subprocess.Popen) -> None:
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)[-5000:]


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path):
    one_machine, evaluate, two_machines = page_commands()
    assert one_machine.partition(" -m ")[2] == two_machines.partition(" -m ")[2]
    write_data(tmp_path)
    endpoint = {"--rdzv_endpoint": f"127.0.0.1:{free_port()}", "--nproc_per_node": "1"}
    finish(*(start(two_machines, tmp_path, tmp_path / "results", **endpoint) for _ in range(2)))
    assert {path.name for path in (tmp_path / "results" / "models").iterdir()} == {"model.pt", "checkpoint_last.pt"}
    finish(start(evaluate, tmp_path, tmp_path / "results"))
    assert (tmp_path / "results" / "eval" / "metrics.csv").exists()
