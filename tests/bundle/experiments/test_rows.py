import json
from dataclasses import replace

import pytest

from bundle.experiments.folds import fold_datalists
from bundle.experiments.plan import TESTING, TRAIN, VALIDATION, Plan, Setting
from bundle.experiments.rows import Row, find_rows, select_rows
from tests.conftest import ROOT


@pytest.fixture
def setting(tmp_path, data):
    return Setting(data, tmp_path / "out")


def config_of(rows, setting):
    """The digests of the first row's training."""
    return Plan(rows, setting).steps[f"{rows[0].key}/{TRAIN}"]["digests"]


def test_rows_are_found_and_selected(overlay, tmp_path):
    for name in ("table1_l1", "table1_l2", "table10_l1", "song2019_gd_wce"):
        overlay(name)
    rows = find_rows(tmp_path / "rows")
    assert rows[0] == Row("song2019", "gd_wce", (tmp_path / "rows" / "song2019_gd_wce.json",))
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
    with pytest.raises(ValueError, match="mine.json': expected a name <table>_<row>.json, or rows mine_<row>.json"):
        find_rows(tmp_path / "rows")


def test_the_base_of_a_table_is_under_its_rows(overlay, tmp_path, setting):
    base = overlay("mine", learning_rate=0.5, batch_size=7)
    first, second = overlay("mine_first", batch_size=3), overlay("mine_second", learning_rate=0.1)
    rows = find_rows(tmp_path / "rows")
    assert [row.overlays for row in rows] == [(base, first), (base, second)]
    contents = Plan(rows, setting).contents
    assert [contents[key][0]["batch_size"] for key in ("mine_first", "mine_second")] == [3, 7]
    assert [contents[key][0]["learning_rate"] for key in ("mine_first", "mine_second")] == [0.5, 0.1]


def test_equal_rows_share_a_run_and_others_do_not(overlay, tmp_path, setting):
    for name, seed, content in (("a_1", 0, {}), ("b_2", 0, {}), ("c_3", 0, {"epochs": 2}), ("d_4", 1, {})):
        overlay(name, seed, **content)
    rows = find_rows(tmp_path / "rows")
    plan = Plan(rows, setting)
    assert plan.runs == {"a_1": ["a_1"], "b_2": ["a_1"], "c_3": ["c_3"], "d_4": ["d_4"]}
    assert sorted(plan.steps) == [f"{run}/{step}" for run in ("a_1", "c_3", "d_4") for step in ("testing", "train")]
    assert plan.as_config(rows[1:2])["wanted"] == ["a_1/train/done.json", "a_1/testing/done.json"]


def test_what_changes_a_result_changes_a_digest(overlay, tmp_path, setting, monkeypatch):
    overlay("a_1")
    rows = find_rows(tmp_path / "rows")
    before = config_of(rows, setting)

    def changed(**options):
        after = config_of(rows, replace(setting, **options))
        return {key for key, value in after.items() if value != before[key]}

    assert changed(epochs=7) == {"config"}
    (base := tmp_path / "base.json").write_text('{"learning_rate": 0.5}')
    assert changed(overlays=(base,)) == {"config"}
    overlay("a_1", description="other words")
    assert changed() == set()
    case = tmp_path / "data" / "case_0" / "image.nii"
    case.parent.mkdir()
    case.write_text("a case that was not there")
    assert changed() == {"data"}
    before = config_of(rows, setting)
    sidecar = case.with_suffix(".json")
    sidecar.write_text('{"FrameTimesStart": [0, 1.5]}')
    assert changed() == {"data"}
    before = config_of(rows, setting)
    sidecar.write_text('{"FrameTimesStart": [0, 1.7]}')
    assert changed() == {"data"}
    before = config_of(rows, setting)
    (setting.dataset_dir / "phantom.json").write_text('{"seed": 3}')
    assert changed() == {"data"}
    before = config_of(rows, setting)
    monkeypatch.setattr("bundle.experiments.plan.code_digest", lambda: "of other code")
    assert changed() == {"code"}


def test_another_evaluation_does_not_train_again(overlay, tmp_path, setting):
    overlay("a_1")
    rows = find_rows(tmp_path / "rows")
    before = Plan(rows, setting).steps
    (base := tmp_path / "base.json").write_text('{"section": "validation"}')  # a key of evaluate.json alone
    after = Plan(rows, replace(setting, overlays=(base,))).steps
    assert {name for name in before if before[name]["digests"] != after[name]["digests"]} >= {"a_1/testing"}


def test_a_row_that_is_no_overlay_is_named(overlay, tmp_path, setting):
    overlay("a_1").write_text("{")
    with pytest.raises(ValueError, match=r"a_1.json': expected an overlay of the configs, got"):
        Plan(find_rows(tmp_path / "rows"), setting)


def test_folds_part_no_patient_and_leave_the_test_cases_alone(setting, tmp_path):
    lists = [json.loads(path.read_text()) for path in fold_datalists(setting.datalist, 3, tmp_path)]
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
    plan = Plan([row], replace(setting, folds=2))
    assert plan.steps_of(row) == [
        *(f"a_1_fold_{fold}/{step}" for fold in (1, 2) for step in (TRAIN, TESTING, VALIDATION)),
        "a_1_ensemble/testing",
    ]
    assert len({plan.steps[f"a_1_fold_{fold}/train"]["overrides"]["datalist"] for fold in (1, 2)}) == 2
    ensemble = plan.steps["a_1_ensemble/testing"]
    assert {name for name in ensemble["inputs"] if name.endswith(".pt")} == {
        f"a_1_fold_{i}/train/model.pt" for i in (1, 2)
    }
    settings = ensemble["overrides"]
    loaded = {
        handler["load_path"]: handler["load_dict"]
        for handler in settings["validate#handlers"]
        if "load_path" in handler
    }
    models = [str(setting.folder / f"a_1_fold_{fold}" / "train" / "model.pt") for fold in (1, 2)]
    assert loaded == {model: {"model": f"@network_{index}"} for index, model in enumerate(models)}
    assert settings["validate#evaluator"]["networks"] == ["@network_0", "@network_1"]


def test_the_rows_of_the_repository_can_be_planned(setting):
    runs = Plan(find_rows(ROOT / "configs" / "experiments"), setting).runs
    for one, other in (("table1_wl2_h1", "table2_fo"), ("table3_slnet", "table4_ce"), ("table4_wce_hgd", "table5_fo")):
        assert runs[one] == runs[other], (one, other)
