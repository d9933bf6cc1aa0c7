"""Nothing is lost: results replace only results, one case each, whatever is killed, named or given."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.io.errors import DatasetError
from scripts.workflow import ResultWriter
from tests.conftest import ROOT, SMALL, axial_affine
from tests.faults import full_disk, needs_fork, points_of, run_until
from tests.workflow.test_bad_input import causes

WITHOUT_WEIGHTS = {"checkpoint_loader#_disabled_": True, "min_lesion_ml": 0}


def digests(folder):
    """What lies in a folder and below, by path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(folder):
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def item(case, voxels):
    """A case with so many voxels in its lesion, each of 0.10368 ml."""
    lesion = torch.zeros(1, 8, 8, 3)
    lesion.view(-1)[:voxels] = 1
    return {
        "case": case,
        "warnings": "",
        "pred": MetaTensor(lesion, affine=torch.from_numpy(axial_affine())),
        "probability": lesion * 0.9,
        "pseudo_dwi": lesion * 0.5,
    }


def infer(workflow, **overrides):
    workflow("inference", workflow_type="infer", **WITHOUT_WEIGHTS, **overrides).run()


def test_a_scan_in_a_folder_of_its_own_name_stays(workflow, dataset_dir, tmp_path):
    folder = tmp_path / "d"
    (folder / "ctp").mkdir(parents=True)
    scan = shutil.copy(dataset_dir / "case_4" / "image.nii", folder / "ctp" / "ctp.nii")
    (folder / "ctp" / "notes.txt").write_text("foreign")
    before = digests(folder)
    infer(workflow, image=str(scan), output_dir=str(folder))
    after = digests(folder)
    assert before.items() <= after.items()
    assert {"ctp/ctp_lesion.nii.gz", "ctp/ctp_result.json", "cases.csv"} <= after.keys()


def test_results_in_the_data_set_erase_nothing(workflow, dataset_dir):
    before = digests(dataset_dir)
    infer(workflow, output_dir=str(dataset_dir))
    assert before.items() <= digests(dataset_dir).items()
    assert (dataset_dir / "case_4" / "case_4_lesion.nii.gz").is_file()


@pytest.mark.parametrize("how", ["itself", "symbolic link", "hard link", "through a linked folder"])
def test_an_output_that_would_cover_an_input_is_refused_before_anything_is_computed(
    how, workflow, dataset_dir, write_case, tmp_path
):
    label = dataset_dir / "case_4" / "case_4_probability.nii.gz"
    output_dir = dataset_dir
    if how == "through a linked folder":
        output_dir = tmp_path / "link"
        output_dir.symlink_to(dataset_dir)
    (dataset_dir / "case_4" / "tmax.nii").rename(label)
    given = label
    if how in ("symbolic link", "hard link"):
        given = dataset_dir / "case_4" / "other.nii.gz"
        given.symlink_to(label) if how == "symbolic link" else given.hardlink_to(label)
    sections = json.loads((dataset_dir / "datalist.json").read_text())
    sections["testing"][0]["tmax"] = str(given.relative_to(dataset_dir))
    (dataset_dir / "datalist.json").write_text(json.dumps(sections))
    before = digests(dataset_dir)
    with pytest.raises(RuntimeError) as caught:
        infer(workflow, output_dir=str(output_dir))
    assert "case_4_probability.nii.gz': expected a place of its own, got that of the input" in causes(caught.value)[-1]
    assert digests(dataset_dir) == before


@pytest.mark.parametrize("key", ["ckpt_path", "datalist"])
def test_weights_and_datalist_are_inputs_too(key, dataset_dir):
    path = dataset_dir / "eval" / "cases.csv"
    path.parent.mkdir()
    path.write_text(key)
    with pytest.raises(DatasetError, match="cases.csv': expected a place of its own"):
        ResultWriter(dataset_dir / "eval", inputs=[path]).check([{"case": "a", "image": "a.nii"}])


def test_evaluation_refuses_to_cover_its_datalist(workflow, dataset_dir):
    (dataset_dir / "summary.json").write_bytes((dataset_dir / "datalist.json").read_bytes())
    overrides = {"checkpoint_loader#_disabled_": True, "datalist": str(dataset_dir / "summary.json")}
    with pytest.raises(RuntimeError) as caught:
        workflow("evaluate", output_dir=str(dataset_dir), **overrides).run()
    assert "summary.json': expected a place of its own" in causes(caught.value)[-1]


def test_evaluation_refuses_two_cases_of_one_name(workflow, dataset_dir):
    case = json.loads((dataset_dir / "datalist.json").read_text())["testing"][0]
    cases = [{key: str(dataset_dir / case[key]) for key in ("image", "label")}] * 2
    overrides = {"checkpoint_loader#_disabled_": True, "validate#dataset#data": cases}
    evaluation = workflow("evaluate", **overrides)
    with pytest.raises(RuntimeError) as caught:
        evaluation.run()
    assert causes(caught.value)[-1] == "the name 'case_4' is used for 2 cases"
    assert not (dataset_dir / "eval").exists()


def test_a_second_series_of_the_same_name_is_refused_with_both_paths(workflow, write_case, dataset_dir, tmp_path):
    paths = []
    for number, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        case = write_case(f"case_9{number}", shape=(32, 32, 3), seed=20 + number)
        paths.append(shutil.copy(case["image"], tmp_path / folder / "ctp.nii"))
    out = tmp_path / "out"
    infer(workflow, image=str(paths[0]), output_dir=str(out))
    before = digests(out)
    with pytest.raises(RuntimeError) as caught:
        infer(workflow, image=str(paths[1]), output_dir=str(out))
    message = causes(caught.value)[-1]
    assert "\n" not in message
    assert message.startswith("case 'ctp', ")
    assert all(os.path.realpath(path) in message for path in paths)
    assert digests(out) == before
    infer(workflow, image=str(paths[0]), output_dir=str(out))  # the same again
    moved = shutil.copy(paths[0], tmp_path / "ctp.nii")
    infer(workflow, image=str(moved), output_dir=str(out))  # the same bytes elsewhere
    infer(workflow, image=str(paths[1]), output_dir=str(out), overwrite=True)
    assert digests(out) != before
    assert json.loads((out / "ctp" / "ctp_result.json").read_text())["series"]["path"] == os.path.realpath(paths[1])


def test_cases_without_names_of_their_own_are_refused(tmp_path):
    cases = [{"image": str(tmp_path / folder / "ctp.nii")} for folder in ("a", "b")]
    with pytest.raises(DatasetError, match="the name 'ctp' is used for 2 cases"):
        ResultWriter(tmp_path).check(cases)


def test_runs_into_one_folder_share_a_table(workflow, dataset_dir):
    for case in ("case_4", "case_5"):
        infer(workflow, image=str(dataset_dir / case / "image.nii"))
    assert [row["case"] for row in table(dataset_dir / "eval")] == ["case_4", "case_5"]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_failed_case_is_listed_and_the_others_are_there(workers, workflow, dataset_dir):
    sections = json.loads((dataset_dir / "datalist.json").read_text())
    everything = [case for section in sections.values() for case in section]
    (dataset_dir / "datalist.json").write_text(json.dumps({"testing": everything}))
    (dataset_dir / "case_1" / "image.nii").unlink()
    (dataset_dir / "case_3" / "image.nii").write_bytes(b"no image")
    with pytest.raises(RuntimeError) as caught:
        infer(workflow, num_workers=workers)
    message = causes(caught.value)[-1]
    lines = message.splitlines()
    assert lines[0] == "2 problems:"
    assert [line.split(",")[0].strip() for line in lines[1:]] == ["case 'case_1'", "case 'case_3'"]
    assert [row["case"] for row in table(dataset_dir / "eval")] == ["case_0", "case_2", "case_4", "case_5"]


def test_a_case_that_cannot_be_written_does_not_stop_the_next(workflow, dataset_dir):
    (dataset_dir / "eval" / "case_4").mkdir(parents=True)
    inference = workflow("inference", workflow_type="infer", **WITHOUT_WEIGHTS)
    evaluator = inference.parser.get_parsed_content("evaluator")
    (dataset_dir / "eval" / "case_4").rmdir()
    writer = inference.parser.get_parsed_content("handlers#4")
    write = writer.write_case

    def fail(item):
        if item["case"] == "case_4":
            full_disk(str(dataset_dir / "eval" / "case_4"))
        return write(item)

    writer.write_case = fail
    with pytest.raises(DatasetError, match="^case 'case_4': OSError: .*No space left on device"):
        evaluator.run()
    assert [row["case"] for row in table(dataset_dir / "eval")] == ["case_5"]


@pytest.mark.slow
def test_the_command_s_exit_status_tells_that_a_case_failed(dataset_dir):
    (dataset_dir / "case_4" / "image.nii").unlink()
    options = {**SMALL, "dataset_dir": dataset_dir, "output_dir": dataset_dir / "eval", **WITHOUT_WEIGHTS}
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(ROOT / "configs" / "inference.json")]
    result = subprocess.run([*command, *arguments], cwd=dataset_dir, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "case 'case_4', image" in result.stderr
    assert [row["case"] for row in table(dataset_dir / "eval")] == ["case_5"]


def consistent(folder):
    """Every row of the table is that of the mask next to it."""
    for row in table(folder) if (folder / "cases.csv").exists() else []:
        mask = np.asarray(nib.load(folder / row["case"] / f"{row['case']}_lesion.nii.gz").dataobj)
        assert float(row["lesion_volume_ml"]) == pytest.approx(mask.sum() * 3.6 * 3.6 * 8 / 1000, abs=1e-3)


@pytest.mark.slow
@needs_fork
def test_a_kill_at_any_point_leaves_rows_that_fit_their_masks(tmp_path):
    def write(folder, *cases):
        writer = ResultWriter(folder)
        for case, voxels in cases:
            images = item(case, voxels)
            del images["pseudo_dwi"]  # two images a case are enough
            writer.write_case(images)

    old, new = (("a", 10), ("b", 20)), (("a", 50),)
    expected = tmp_path / "expected"
    write(expected, *old, *new)
    ready = tmp_path / "ready"
    write(ready, *old)
    points = points_of(partial(write, shutil.copytree(ready, tmp_path / "counted"), *new))
    assert len(points) > 25
    for point, name in enumerate(points):
        folder = shutil.copytree(ready, tmp_path / str(point))
        assert run_until(point, partial(write, folder, *new)) == -signal.SIGKILL, name
        consistent(folder)
        assert (folder / "a" / "a_lesion.nii.gz").is_file()  # old or new
        write(folder, *new)
        assert digests(folder) == digests(expected), (point, name)
        assert not list(folder.rglob(".*"))  # nothing hidden stays


def test_formulas_in_a_table_are_texts(tmp_path):
    ResultWriter(tmp_path).write_case({**item("=cmd", 1), "warnings": "@SUM(A1)"})
    (row,) = table(tmp_path)
    assert (row["case"], row["warnings"]) == ("'=cmd", "'@SUM(A1)")


@pytest.mark.parametrize("source", ["header", "sidecar", "case", "option"])
def test_the_record_has_the_frame_times_that_were_used(source, workflow, write_case, tmp_path):
    """All four doors of times, through the config, with the maps computed by them."""
    case = write_case("ctp", shape=(32, 32, 3), maps=False)
    times_s = [*(1.5 * np.arange(15)), *(21.0 + 2.0 * np.arange(1, 6))]
    (tmp_path / "times.txt").write_text("\n".join(map(str, times_s)))
    overrides = {}
    if source == "sidecar":
        (tmp_path / "ctp" / "image.json").write_text(json.dumps({"FrameTimesStart": times_s}))
    elif source == "case":
        case["times"] = times_s
    elif source == "option":
        overrides["times"] = str(tmp_path / "times.txt")
    infer(workflow, **{"dataset#data": [case]}, **overrides)
    record = json.loads((tmp_path / "eval" / "ctp" / "ctp_result.json").read_text())
    expected = {"source": source, "dt_s": 1.5} | ({} if source == "header" else {"times_s": times_s})
    assert record["frame_times"] == expected
