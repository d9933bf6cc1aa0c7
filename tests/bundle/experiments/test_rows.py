import json
from dataclasses import replace
from pathlib import Path

import pytest

from bundle.experiments.folds import fold_datalists
from bundle.experiments.plan import HELD_OUT, TEST, TRAIN, Setting, ensemble_job, plan_jobs
from bundle.experiments.rows import Row, find_rows, select_rows
from tests.conftest import ROOT


@pytest.fixture
def setting(tmp_path, experiments):
    return Setting(tmp_path / "data", tmp_path / "data" / "datalist.json", tmp_path / "out")


def test_rows_are_found_and_selected(overlay, tmp_path):
    for name in ("table1_l1", "table1_l2", "table10_l1", "song2019_gd_wce"):
        overlay(name)
    rows = find_rows(tmp_path / "rows")
    assert rows[0] == Row("song2019", "gd_wce", tmp_path / "rows" / "song2019_gd_wce.json")
    assert [row.key for row in select_rows(rows, ["1"])] == ["table1_l1", "table1_l2"]
    assert [row.key for row in select_rows(rows, [], ["l1"])] == ["table10_l1", "table1_l1"]
    assert [row.key for row in select_rows(rows, ["song2019"], ["song2019_gd_wce"])] == ["song2019_gd_wce"]
    assert select_rows(rows) == rows
    with pytest.raises(ValueError, match="table: expected some of song2019, table1, table10, got table2"):
        select_rows(rows, ["2"])
    with pytest.raises(ValueError, match="row: expected some of table1_l1, table1_l2, got gan"):
        select_rows(rows, ["1"], ["gan"])


def test_overlays_without_a_row_are_refused(overlay, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected overlays <table>_<row>.json, got none"):
        find_rows(tmp_path / "rows")
    overlay("mine")
    with pytest.raises(ValueError, match="mine.json': expected a name <table>_<row>.json"):
        find_rows(tmp_path / "rows")


def test_equal_rows_are_one_job_and_others_are_not(overlay, tmp_path, setting):
    for name, seed, content in (("a_1", 0, {}), ("b_2", 0, {}), ("c_3", 0, {"epochs": 2}), ("d_4", 1, {})):
        overlay(name, seed, **content)
    rows = find_rows(tmp_path / "rows")
    jobs = plan_jobs(rows, setting)
    assert jobs["a_1"] is jobs["b_2"]
    assert len({job.folder for job in jobs.values()}) == 3
    assert jobs["a_1"].folder.name.startswith("a_1-")
    # The same settings find their folder again, whatever row made it.
    jobs["a_1"].folder.mkdir(parents=True)
    assert plan_jobs(rows[1:2], setting)["b_2"].folder == jobs["a_1"].folder


def test_what_changes_a_result_changes_the_digest(overlay, tmp_path, setting):
    overlay("a_1")
    rows = find_rows(tmp_path / "rows")
    digests = {plan_jobs(rows, setting)["a_1"].steps[0].digest}
    digests.add(plan_jobs(rows, replace(setting, epochs=7))["a_1"].steps[0].digest)
    (base := tmp_path / "base.json").write_text('{"learning_rate": 0.5}')
    digests.add(plan_jobs(rows, replace(setting, base=(base,)))["a_1"].steps[0].digest)
    (setting.dataset_dir / "phantom.json").write_text('{"seed": 3}')
    digests.add(plan_jobs(rows, setting)["a_1"].steps[0].digest)
    assert len(digests) == 4
    overlay("a_1", description="other words")
    assert plan_jobs(rows, setting)["a_1"].steps[0].digest in digests


def test_a_row_that_is_no_overlay_is_named(overlay, tmp_path, setting):
    overlay("a_1").write_text("{")
    with pytest.raises(ValueError, match=r"a_1.json': expected an overlay of the configs, got"):
        plan_jobs(find_rows(tmp_path / "rows"), setting)


def test_folds_part_no_patient_and_leave_the_test_cases_alone(setting, tmp_path):
    lists = [
        json.loads(path.read_text()) for path in fold_datalists(setting.datalist, setting.dataset_dir, 3, tmp_path)
    ]
    sections = json.loads(setting.datalist.read_text())
    everything = {case["case"] for case in sections["training"] + sections["validation"]}
    held_out = [{case["case"] for case in fold["validation"]} for fold in lists]
    assert set.union(*held_out) == everything
    assert sum(map(len, held_out)) == len(everything)
    for fold in lists:
        subjects = [{case["subject"] for case in fold[section]} for section in ("training", "validation")]
        assert not subjects[0] & subjects[1]
        assert fold["testing"] == sections["testing"]


def test_an_ensemble_loads_every_fold_once(overlay, tmp_path, setting):
    overlay("a_1")
    row = find_rows(tmp_path / "rows")[0]
    lists = fold_datalists(setting.datalist, setting.dataset_dir, 2, tmp_path / "out")
    jobs = [plan_jobs([row], replace(setting, datalist=path, held_out=True))["a_1"] for path in lists]
    assert [step.name for step in jobs[0].steps] == [TRAIN, TEST, HELD_OUT]
    assert jobs[0].folder != jobs[1].folder
    settings = ensemble_job(row, jobs, setting).step(TEST).settings
    loaded = {handler["load_path"]: handler["load_dict"] for handler in settings["handlers"] if "load_path" in handler}
    assert loaded == {str(job.model): {"model": f"@network_{index}"} for index, job in enumerate(jobs)}
    assert settings["evaluator"]["networks"] == ["@network_0", "@network_1"]


def test_the_rows_of_the_repository_can_be_planned(setting):
    jobs = plan_jobs(find_rows(ROOT / "configs" / "experiments"), setting)
    for one, other in (("table1_wl2_h1", "table2_fo"), ("table3_slnet", "table4_ce"), ("table4_wce_hgd", "table5_fo")):
        assert jobs[one] is jobs[other], (one, other)
    assert all(isinstance(step.configs[0], Path) for job in jobs.values() for step in job.steps)
