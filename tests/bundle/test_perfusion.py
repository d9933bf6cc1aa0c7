"""The measurement of the computed maps: rows from a small phantom, and the page that is made of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.perfusion import read_table, write_table
from bundle.perfusion.cases import evaluate_seed, moved
from bundle.perfusion.page import perfusion_page


@pytest.fixture(scope="module")
def row() -> dict:
    return evaluate_seed(4, 3.0, with_motion=False, matrix=96)


def test_row_of_a_case_has_what_the_page_wants(row: dict, tmp_path: Path) -> None:
    assert row["cbf r, tissue"] > 0.6
    assert 0 < row["delay dice"] <= 1
    write_table(tmp_path / "cases.csv", [row, {"seed": 5, "slices": 2, "skull": True, "error": "no brain"}])
    page = perfusion_page(read_table(tmp_path / "cases.csv"), "a command", "abc", "a machine", "a.png", "cases.csv")
    assert "seed 5 (no brain)" in page
    assert f"| {row['cbf r, tissue']:.2f} | 0.85 |" in page
    assert "Not measured." in page


def test_volumes_and_the_dice_of_all_voxels_are_those_of_two_cases() -> None:
    base = {"slices": 2, "skull": "True", "bolus_hu": 300}
    two = [  # they overlap in 9 ml and in nothing
        base | {"seed": 0, "delayed_ml": 20.0, "found_delayed_ml": 10.0, "delay dice": 2 * 9 / 30},
        base | {"seed": 1, "delayed_ml": 10.0, "found_delayed_ml": 0.0, "delay dice": 0.0},
    ]
    rows = [
        {key: str(value) for key, value in row.items()}
        | {"arterial share": "1", "arrival error s": "0", "aif area ratio": "1"}
        for row in two
    ]
    page = perfusion_page(rows, "a command", "abc", "a machine", "a.png", "cases.csv")
    assert "errs by -10.0 ml in the mean and by 10.0 ml in the median of absolute errors, of 15.0 ml" in page
    assert "all cases together is 0.45" in page  # 2 * 9 / 40


def test_five_frames_move_and_the_others_stay() -> None:
    series = torch.rand(21, 32, 32, 2).cumsum(dim=1)
    result = moved(series, (1.0, 1.0, 5.0), np.random.default_rng(0))
    changed = [frame for frame in range(21) if not torch.equal(result[frame], series[frame])]
    assert changed == [3, 6, 8, 10, 15]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 15, 27])
def test_arteries_of_hard_cases_are_found(seed: int) -> None:
    """An occlusion with few arteries, and heads that move with their skull, one of them with a weak bolus."""
    found = evaluate_seed(seed, 3.0, with_motion=False)
    assert found["arterial share"] > 0.9
    assert abs(found["arrival error s"]) < 1
    assert 0.7 < found["aif area ratio"] < 1.4
