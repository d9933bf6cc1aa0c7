"""`ctp-stroke agreement`: given maps that are the computed ones, known scalings, bad cases, and a run that goes on."""

import csv
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.cli import main
from scripts.commands import case_agreement as module
from scripts.commands.case_agreement import compare_maps
from scripts.commands.perfusion_maps import MapsRequest, write_maps
from scripts.metrics.agreement_summary import COLUMNS, THRESHOLDS_S, split_half, summarize_agreement
from scripts.report.agreement_page import FILES, agreement_page
from tests.perfusion.head import SPACING_MM, head

AFFINE = np.diag([4.0, 4.0, 8.0, 1.0])
VOXEL_ML = 0.128
SHAPE = (40, 40, 4)
KEYS = ("cbf", "cbv", "mtt", "tmax")


def made_maps(delayed: int, core: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Maps with rows of delay, of which some are core, on the side of small indices; Tmax falls from row to row."""
    generator = np.random.default_rng(seed)
    row = np.arange(SHAPE[0])[:, None, None] * np.ones(SHAPE)
    tissue = np.zeros(SHAPE, bool)
    tissue[2:-2, 4:-4] = True
    noise = generator.uniform(0.995, 1.005, (2, *SHAPE))
    cbf = np.where(row < 2 + core, 8.0, np.where(row < 2 + delayed, 25.0, 50.0)) * noise[0]
    around = np.maximum(5.75 - 0.4 * (row - 2 - delayed), 1.5)
    tmax = np.where(row < 2 + delayed, 12.0 - 0.4 * row, around) * noise[1]
    cbv = cbf * np.where(row < 2 + delayed, 8.0, 4.0) / 60
    maps = {"cbf": cbf, "cbv": cbv, "mtt": 60 * cbv / cbf, "tmax": tmax}
    return {key: np.where(tissue, value, 0).astype(np.float32) for key, value in maps.items()}, tissue


def summary_of(pairs: list[tuple], label: np.ndarray | None = None) -> dict:
    found = [compare_maps(*pair, AFFINE, label) for pair in pairs]
    rows = [{"case": f"case_{index}", "subject": "", **result.row} for index, result in enumerate(found)]
    assert all(set(row) == set(COLUMNS) for row in rows)
    return {**summarize_agreement(rows, [result.threshold_dice for result in found]), "rows": rows}


EXTENTS = ((4, 1), (8, 2), (12, 11), (0, 0), (10, 3))
"""Rows of delay and core: mismatch and no mismatch, a core as large as the delay, and nothing."""


def test_equal_maps_agree_in_everything():
    made = [made_maps(*extent, seed=seed) for seed, extent in enumerate(EXTENTS)]
    summary = summary_of([(maps, maps, tissue) for maps, tissue in made])
    assert {row["defuse3"] for row in summary["rows"]} == {True, False}
    assert summary["defuse3"]["kappa"] == 1
    for name in ("delay", "core"):
        volumes = summary["volumes"][name]
        assert (volumes["n"], volumes["bias"], volumes["lower"], volumes["upper"]) == (5, 0, 0, 0)
        assert volumes["icc_a1"] == pytest.approx(1)
        assert summary["dice"][f"{name}_dice"] == {"n": 4, "mean": 1, "median": 1}  # the fifth has nothing to overlap
    assert all(found["median"] == pytest.approx(1) for found in summary["r"].values())
    assert all(half["threshold_s"] == 6 and half["dice"] == 1 for half in summary["split_half"])
    assert len(summary["split_half"]) == 2


def test_volumes_are_those_of_the_rows():
    maps, tissue = made_maps(8, 2)
    row = compare_maps(maps, maps, tissue, AFFINE).row
    a_row = 32 * 4 * VOXEL_ML
    assert row["core_ml"] == pytest.approx(2 * a_row)
    assert row["delay_ml"] == pytest.approx(8 * a_row)
    assert row["tissue_ml"] == row["compared_ml"] == pytest.approx(36 * a_row)


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_a_known_scaling_gives_its_bias(factor):
    """Tmax scaled: the volume is that of Tmax > 6 s / factor. CBF scaled: the relative core and r stay."""
    pairs, differences = [], []
    for seed, extent in enumerate(EXTENTS):
        maps, tissue = made_maps(*extent, seed=seed)
        given = maps | {"tmax": maps["tmax"] * np.float32(factor)}
        pairs.append((maps, given, tissue))
        counts = [np.count_nonzero(tissue & (values > 6)) for values in (maps["tmax"], given["tmax"])]
        differences.append((counts[0] - counts[1]) * VOXEL_ML)
    volumes = summary_of(pairs)["volumes"]["delay"]
    assert any(differences)
    assert volumes["bias"] == pytest.approx(np.mean(differences))
    assert volumes["upper"] - volumes["lower"] == pytest.approx(2 * 1.96 * np.std(differences, ddof=1))
    flows = [(maps, maps | {"cbf": maps["cbf"] * 2}, tissue) for maps, _, tissue in pairs]
    summary = summary_of(flows)
    assert summary["volumes"]["core"]["bias"] == 0
    assert summary["r"]["cbf"]["median"] == pytest.approx(1)


def test_split_halves_find_the_threshold_of_scaled_maps():
    pairs = []
    for seed in range(6):
        maps, tissue = made_maps(10 + seed % 3, 2, seed)
        late = maps | {"tmax": maps["tmax"] * np.float32(6 / 8)}  # 6 s there are 8 s here
        pairs.append((maps, late, tissue))
    for half in summary_of(pairs)["split_half"]:
        assert half["threshold_s"] == 8
        assert half["dice"] == pytest.approx(1, abs=0.01)
        assert half["dice_at_6s"] < half["dice"]
        assert (half["chosen_on"], half["tested_on"]) == (3, 3)


def test_a_patient_stays_in_one_half():
    dice = [[float(threshold == 6 + index // 2) for threshold in THRESHOLDS_S] for index in range(4)]
    rows = [{"case": str(index), "subject": f"p{index // 2}", "given_delay_ml": 1.0} for index in range(4)]
    halves = split_half(rows, dice)
    assert sorted(half["threshold_s"] for half in halves) == [6, 7]
    assert all(half["dice"] == 0 for half in halves)
    assert split_half(rows[:2], dice[:2]) == []


def test_the_edges_are_stated():
    maps, tissue = made_maps(0, 0)
    for count in (1, 3):
        summary = summary_of([(maps, maps, tissue)] * count)
        assert all(math.isnan(summary["volumes"][name]["icc_a1"]) for name in ("delay", "core"))
        assert summary["dice"]["delay_dice"]["n"] == 0
        assert math.isnan(summary["defuse3"]["kappa"])
        assert summary["split_half"] == []
        page = agreement_page(summary, "no delay")
        assert "| Tmax > 6 s: Dice, mean and median | -, - | 0 |" in page
        assert "Not chosen" in page
    maps, tissue = made_maps(8, 2)
    summary = summary_of([(maps, maps, tissue)])
    assert summary["dice"]["core_dice"]["mean"] == 1
    assert math.isnan(summary["volumes"]["core"]["upper"])
    constant = maps | {"mtt": np.where(tissue, np.float32(4), 0)}
    assert math.isnan(summary_of([(maps, constant, tissue)])["r"]["mtt"]["median"])


def test_filling_values_are_missing_and_a_label_is_compared_as_a_whole():
    maps, tissue = made_maps(8, 2)
    given = {key: value.copy() for key, value in maps.items()}
    given["tmax"][:6], given["cbf"][30:33], given["cbv"][33:35] = -30, np.nan, np.nan
    label = np.zeros(SHAPE)
    label[2:10, 4:-4] = 1
    row = compare_maps(maps, given, tissue, AFFINE, label).row
    a_row = 32 * 4 * VOXEL_ML
    assert row["compared_ml"] == pytest.approx((36 - 4 - 5) * a_row)
    assert row["given_delay_ml"] == row["delay_ml"] == pytest.approx(4 * a_row)
    assert row["delay_infarct_dice"] == pytest.approx(2 * 4 / (4 + 8))
    assert row["infarct_ml"] == pytest.approx(8 * a_row)
    nothing = {key: np.zeros(SHAPE, np.float32) for key in KEYS}
    with pytest.raises(ValueError, match="expected values in the tissue of the brain, got none"):
        compare_maps(maps, nothing, tissue, AFFINE)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads of different size whose given maps are the computed ones."""
    root = tmp_path_factory.mktemp("data")
    series = np.moveaxis(head(stripped=True)[0].numpy(), 0, -1)
    entries = []
    for name, scale in (("small", 0.9), ("large", 1.0)):
        image = nib.Nifti1Image(series, np.diag([*(scale * mm for mm in SPACING_MM), 1.0]))
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = 1.0
        nib.save(image, root / f"{name}.nii")
        write_maps(MapsRequest(root / f"{name}.nii", root / name))
        files = {key: f"{name}/{name}_{key}.nii.gz" for key in KEYS}
        entries.append({"case": name, "image": f"{name}.nii", **files, "label": f"{name}/{name}_delay.nii.gz"})
    (root / "datalist.json").write_text(json.dumps({"testing": entries}))
    return root


def table(out: Path) -> list[dict[str, str]]:
    with (out / "agreement.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_command(dataset, tmp_path, monkeypatch, capsys):
    out, words = tmp_path / "out", ["agreement", str(dataset / "datalist.json"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "2 of 2 cases" in capsys.readouterr().out
    for row in table(out):
        assert {float(row[f"{key}_r"]) for key in KEYS} == {1}
        assert float(row["delay_dice"]) == float(row["core_dice"]) == 1
        # The label is Tmax > 6 s of the maps, but for voxels with no value in any map.
        assert float(row["delay_infarct_dice"]) == pytest.approx(1, abs=1e-3)
        assert float(row["delay_ml"]) == float(row["given_delay_ml"]) > 10
    found = json.loads((out / "agreement.json").read_text())
    for name in ("delay", "core"):
        assert found["volumes"][name]["bias"] == 0
        assert found["volumes"][name]["icc_a1"] == pytest.approx(1)
    assert {path.name for path in out.iterdir()} == {*FILES, "cases"}
    assert (out / "agreement.png").read_bytes().startswith(b"\x89PNG")
    assert "| volume of core: ICC(A,1) | 1.00 | 2 | 0.97 |" in (out / "agreement.md").read_text()

    def refuse(request):
        raise AssertionError(f"{request.series} is computed again")

    before = (out / "agreement.csv").read_bytes()
    monkeypatch.setattr(module, "write_maps", refuse)
    assert main(words) == 0
    assert (out / "agreement.csv").read_bytes() == before
    assert main([*words, "--method", "osvd"]) == 1  # other settings are not those that are kept
    assert "AssertionError" in capsys.readouterr().err


def test_a_bad_case_does_not_stop_the_others(dataset, tmp_path, capsys):
    entries = json.loads((dataset / "datalist.json").read_text())["testing"]
    root = tmp_path / "data"
    root.mkdir()
    for file in dataset.rglob("small*.nii*"):
        (root / file.relative_to(dataset)).parent.mkdir(exist_ok=True)
        (root / file.relative_to(dataset)).write_bytes(file.read_bytes())
    (root / "broken.nii.gz").write_bytes((dataset / "small" / "small_cbf.nii.gz").read_bytes()[:5000])
    good = entries[0]
    bare = {"case": "bare", "image": good["image"]}
    broken = {**good, "case": "broken", "cbf": "broken.nii.gz"}
    (root / "datalist.json").write_text(json.dumps({"testing": [bare, broken, good], "none": [bare]}))
    words = ["agreement", str(root / "datalist.json"), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    errors = capsys.readouterr().err
    assert "case 'bare', cbf, cbv, tmax: expected given maps to compare with, got none in the datalist" in errors
    assert "case 'broken', cbf" in errors
    assert [row["case"] for row in table(tmp_path / "out")] == ["small"]
    assert "Left out, as they failed: 2." in (tmp_path / "out" / "agreement.md").read_text()
    assert main([*words[:3], str(tmp_path / "other"), "--section", "none"]) == 1
    assert not (tmp_path / "other").exists()


def test_given_maps_are_never_overwritten(dataset, tmp_path, capsys):
    entry = json.loads((dataset / "datalist.json").read_text())["testing"][0]
    folder = tmp_path / "out" / "cases" / "small"
    folder.mkdir(parents=True)
    for key in ("image", *KEYS):
        (folder / Path(entry[key]).name).write_bytes((dataset / entry[key]).read_bytes())
    entry = {"case": "small", **{key: str(folder / Path(entry[key]).name) for key in ("image", *KEYS)}}
    (tmp_path / "datalist.json").write_text(json.dumps({"testing": [entry]}))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["agreement", str(tmp_path / "datalist.json"), "--out", str(tmp_path / "out"), "--overwrite"]) == 1
    assert "expected a place of its own, got that of the input" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["nowhere.json", "--out", "x"], 2, "does not exist"),
        (["{datalist}", "--out", "x", "--section", "trial"], 1, "expected a section 'trial'"),
        (["{datalist}", "--out", "x", "--method", "none"], 2, "--method"),
        (["{datalist}"], 2, "--out"),
    ],
)
def test_errors(words, status, text, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["agreement", *(word.format(datalist=dataset / "datalist.json") for word in words)]) == status
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
