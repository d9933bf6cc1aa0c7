import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from scripts.metrics import METRICS, CaseMetrics, lesion_metrics, synthesis_metrics

AFFINE = torch.diag(torch.tensor([-0.9, -0.8, 6.0, 1.0], dtype=torch.float64))
SPACING_MM = (0.9, 0.8, 6.0)


def item(name: str, seed: int, lesion: bool = True, dwi: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    shape = (1, 20, 18, 2)
    images = {key: torch.from_numpy(rng.random(shape, np.float32)) for key in ("dwi", "pseudo_dwi")}
    masks = {key: torch.from_numpy((rng.random(shape) > 0.7).astype(np.float32)) for key in ("pred", "label")}
    batch = {"case": name, "label": masks["label"] * lesion}
    output = {"pred": MetaTensor(masks["pred"], affine=AFFINE), "pseudo_dwi": images["pseudo_dwi"]}
    return (batch | {"dwi": images["dwi"]} if dwi else batch), output


def evaluate(handler: CaseMetrics, items: list[tuple[dict[str, Any], dict[str, Any]]], size: int = 2) -> Engine:
    def step(engine: Engine, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
        engine.state.batch = [batch for batch, _ in pairs]
        return [output for _, output in pairs]

    engine = Engine(step)
    handler.attach(engine)
    engine.run([items[i : i + size] for i in range(0, len(items), size)])
    return engine


ITEMS = [item("case_1", 1), item("case_2", 2, lesion=False), item("case_3", 3, dwi=False)]


def test_rows_means_and_files(tmp_path: Path) -> None:
    handler = CaseMetrics(tmp_path / "eval")
    engine = evaluate(handler, ITEMS)
    expected = []
    for batch, output in ITEMS:
        arrays = [np.asarray(output["pred"])[0] > 0, batch["label"].numpy()[0] > 0]
        row = lesion_metrics(*arrays, SPACING_MM)
        if "dwi" in batch:
            row |= synthesis_metrics(output["pseudo_dwi"].numpy()[0], batch["dwi"].numpy()[0], arrays[1])
        expected.append(row)
    dice = np.mean([row["dice"] for row in expected])
    assert engine.state.metrics["val_mean_dice"] == pytest.approx(dice)
    assert engine.state.metrics["val_mean_ssim"] == pytest.approx(np.mean([row["ssim"] for row in expected[:2]]))
    assert engine.state.metrics["val_mean_local_ssim"] == pytest.approx(expected[0]["local_ssim"])

    with (tmp_path / "eval" / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows] == ["case_1", "case_2", "case_3"]
    assert rows[1]["stratum"] == "no lesion"
    for row, numbers in zip(rows, expected, strict=True):
        for name in METRICS:
            value = numbers.get(name, np.nan)
            assert (row[name] == "") if np.isnan(value) else float(row[name]) == pytest.approx(value, abs=1e-6)

    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert (summary["cases"]["all"], summary["cases"]["any lesion"]) == (3, 2)
    assert summary["cases"]["no lesion"] == 1
    assert summary["metrics"]["all"]["dice"]["mean"] == pytest.approx(dice)
    assert summary["metrics"]["all"]["ssim"]["n"] == 2


def test_a_second_run_starts_anew_and_writes_the_same(tmp_path: Path) -> None:
    handler = CaseMetrics(tmp_path)
    evaluate(handler, ITEMS)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(files) == {"metrics.csv", "summary.json"}
    evaluate(handler, ITEMS, size=1)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_without_folder_nothing_is_written_and_the_prefix_is_free(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    engine = evaluate(CaseMetrics(prefix="test_"), ITEMS)
    assert "test_dice" in engine.state.metrics
    assert list(tmp_path.iterdir()) == []


def test_a_placeholder_dwi_and_a_repeated_case_do_not_count() -> None:
    batch, output = ITEMS[0]
    handler = CaseMetrics()
    evaluate(handler, [(batch | {"has_dwi": torch.tensor(False)}, output), ITEMS[1], ITEMS[1]])
    assert [row["case"] for row in handler.rows] == ["case_1", "case_2"]
    assert ["ssim" in row for row in handler.rows] == [False, True]


def test_the_affine_may_be_a_key() -> None:
    batch, output = ITEMS[0]
    handler = CaseMetrics()
    evaluate(handler, [(batch | {"affine": AFFINE}, output | {"pred": output["pred"].as_tensor()})])
    voxels = int(batch["label"].sum())
    assert handler.rows[0]["volume_ml"] == pytest.approx(voxels * 0.9 * 0.8 * 6 / 1000)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_the_slice_axis_is_where_the_affine_says(axes: tuple[int, int, int]) -> None:
    batch, output = ITEMS[0]
    affine = np.eye(4)
    affine[:3, :3] = AFFINE.numpy()[:3, axes]
    handler = CaseMetrics()
    turned = {
        key: value.permute(0, *(a + 1 for a in axes)) for key, value in {**batch, **output}.items() if key != "case"
    }
    evaluate(handler, [({"case": "case_1", "affine": affine, **turned}, {}), ({**batch, "case": "case_2"}, output)])
    first, second = ({k: v for k, v in row.items() if isinstance(v, float)} for row in handler.rows)
    assert first == pytest.approx(second, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "missing keys: label; expected 'case', 'pred' and 'label'"),
        ({"label": torch.zeros(2, 20, 18, 2)}, r"case 'case_1', label: expected one channel \(1, H, W, D\), got \(2, "),
        ({"pred": torch.zeros(1, 20, 18, 2)}, "expected 'pred' as a MetaTensor or the key 'affine'"),
    ],
)
def test_bad_items(change: dict[str, Any], message: str) -> None:
    batch, output = ITEMS[0]
    merged = {key: value for key, value in {**batch, **output, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        evaluate(CaseMetrics(), [(merged, {})])
