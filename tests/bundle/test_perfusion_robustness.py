"""The robustness of the volumes: what counts as robust, how the variants differ from the base, and the page."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bundle.perfusion import collect, read_table, robustness, write_table
from bundle.perfusion.cases import NOISE_HU, examine
from bundle.perfusion.robustness import ONE_SLICE, VARIANTS, Result, Scan, _noisy, _slow, evaluate_case, outcome
from bundle.perfusion.robustness_page import robustness_page
from scripts.phantom.acquisition import frame_times_s
from scripts.phantom.case import sample_scan

SEED, MATRIX = 2, 32


def _result(core_ml: float, delayed_ml: float, *warnings: str, error: str = "") -> Result:
    return Result(None, None, core_ml, delayed_ml, frozenset(warnings), error)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (_result(100.0, 50.0), "within"),
        (_result(119.0, 59.0, "motion"), "within"),
        (_result(81.0, 41.0), "within"),
        (_result(125.0, 50.0), "silent"),
        (_result(100.0, 61.0), "silent"),
        (_result(100.0, 61.0, "noise"), "warned"),  # the base has this warning, too
        (_result(100.0, 61.0, "noise", "motion"), "warned"),
        (_result(math.nan, 50.0), "silent"),
        (_result(math.nan, 50.0, "no_reference"), "warned"),
        (_result(math.nan, math.nan, error="series must show a brain"), "refused"),
    ],
)
def test_outcome(found: Result, expected: str) -> None:
    assert outcome(found, _result(100.0, 50.0, "noise")) == expected


@given(base_ml=st.floats(0, 25), change_ml=st.floats(-30, 30))
def test_5_ml_are_allowed_where_20_percent_are_less(base_ml: float, change_ml: float) -> None:
    found = outcome(_result(base_ml + change_ml, 0.0), _result(base_ml, 0.0))
    if abs(abs(change_ml) - 5) > 1e-6:
        assert found == ("within" if abs(change_ml) < 5 else "silent")


def test_withheld_volumes_of_both_are_alike() -> None:
    assert outcome(_result(math.nan, 1.0), _result(math.nan, 1.0)) == "within"


def test_late_bolus_is_that_of_the_same_patient_10_s_later() -> None:
    base, late = (examine(SEED, NOISE_HU, MATRIX, change) for change in (lambda scan: scan, VARIANTS["late"].change))
    times_s = base.dt_s * np.arange(len(base.series))
    arterial = base.case.series.clean_arterial_hu
    shifted = np.interp(times_s - 10, times_s, arterial, left=0)
    np.testing.assert_allclose(late.case.series.clean_arterial_hu, shifted, atol=0.05 * arterial.max())
    assert late.series.shape == base.series.shape
    np.testing.assert_array_equal(late.case.truth["cbf"], base.case.truth["cbf"])


@pytest.mark.parametrize("seed", range(5))
def test_slow_series_is_as_long_and_noise_is_doubled(seed: int) -> None:
    scan = sample_scan(np.random.SeedSequence(seed))
    before, slow, noisy = (change(scan).acquisition for change in (lambda scan: scan, _slow, _noisy))
    length_s = frame_times_s(before)[-1]
    assert 0 <= length_s - frame_times_s(slow)[-1] < 3.0
    assert np.diff(frame_times_s(slow)) == pytest.approx(3.0)
    assert noisy == replace(before, noise_hu=2 * NOISE_HU)


def test_rows_of_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computation that finds a core in the lower half of the image, of one voxel a frame."""
    scans: list[Scan] = []

    def read(scan: Scan) -> Result:
        scans.append(scan)
        core = torch.zeros(scan.series.shape[1:], dtype=torch.bool)
        core[: len(core) // 2, 0] = True
        voxels_ml = math.prod(scan.spacing_mm) / 1000
        return Result(core, core, len(scan.series), float(core.sum()) * voxels_ml, frozenset())

    monkeypatch.setattr(robustness, "read_scan", read)
    rows = {row["variant"]: row for row in evaluate_case(SEED, MATRIX)}
    assert list(rows) == ["base", *VARIANTS, ONE_SLICE]
    base, frames = scans[0], len(scans[0].series)
    assert rows["cut"]["core_ml"] == frames - 25
    assert rows["cut"]["outcome"] == "silent"
    assert rows["noise"]["outcome"] == rows["in-plane"]["outcome"] == "within"
    assert rows["slow"]["core_ml"] == pytest.approx(frames * base.dt_s / 3, abs=1)
    assert [len(scan.affine) for scan in scans] == [4] * 10
    fine, single = scans[-2:]
    assert fine.series.shape == (frames, 2 * MATRIX, 2 * MATRIX, base.series.shape[3])
    assert fine.spacing_mm[0] == pytest.approx(base.spacing_mm[0] / 2)
    assert single.series.shape[3] == 1
    assert torch.equal(single.series[..., 0], base.series[..., 0])  # all slices have the same delay: the first
    assert rows[ONE_SLICE]["base_delayed_ml"] == pytest.approx(
        rows["base"]["delayed_ml"] / base.series.shape[3], abs=0.01
    )


def test_series_without_a_brain_is_refused_with_its_reason() -> None:
    fat = (40 * torch.rand(1, 32, 32, 2) - 50).expand(20, -1, -1, -1)
    scan = Scan(fat, 1.0, (1.0, 1.0, 5.0), torch.eye(4))
    found = robustness.read_scan(scan)
    assert "series must show a brain" in found.error
    assert outcome(found, _result(1.0, 1.0)) == "refused"


def test_page_counts_outcomes_and_lists_what_is_silent(tmp_path: Path) -> None:
    base = {"slices": 2, "frames": 50, "core_ml": 10.0, "delayed_ml": 40.0, "warnings": "", "error": ""}
    of_base = {"base_core_ml": 10.0, "base_delayed_ml": 40.0}
    rows: list[dict[str, Any]] = [base | {"seed": seed, "variant": "base", "outcome": "within"} for seed in (0, 1)]
    rows.append(base | {"seed": 2, "variant": "base", "outcome": "refused", "error": "no contrast"})
    for seed, variant, result, new in [
        (0, "cut", "warned", "truncated_series"),
        (1, "cut", "warned", "truncated_series noise"),
        (0, "512", "within", ""),
        (1, "512", "silent", ""),
        (0, ONE_SLICE, "refused", ""),
    ]:
        changed = {
            "seed": seed,
            "variant": variant,
            "outcome": result,
            "new_warnings": new,
            "warnings": f"{new} weak_aif",
            "core_ml": 3.5,
        }
        rows.append(base | of_base | changed)
    write_table(tmp_path / "rows.csv", rows)
    page = robustness_page(read_table(tmp_path / "rows.csv"), ["command: `a`", "commit: `abc123`"])
    assert "**1 of 5** comparisons are silently wrong" in page
    assert "| 25 frames cut at the end | 0 | 2 | 0 | 0 |" in page
    assert "| 512 x 512 pixels | 1 | 0 | 0 | 1 |" in page
    assert "| all | 1 | 2 | 1 | 1 |" in page
    assert "| 25 frames cut at the end | truncated_series (2), weak_aif* (2), noise (1) |" in page
    assert "| weak_aif | 0 of 3 | 1 of 1 |" in page
    assert "| 1 | 512 x 512 pixels | 10.0 → 3.5 | 40.0 → 40.0 |" in page
    assert "The base of 1 cases is refused: seed 2 (no contrast)." in page
    assert "commit: `abc123`" in page


def test_resumed_run_measures_only_the_missing_cases(tmp_path: Path) -> None:
    asked: list[int] = []

    def evaluate(seed: int) -> list[dict[str, Any]]:
        asked.append(seed)
        if seed == 2:
            raise KeyboardInterrupt
        return [{"seed": seed, "variant": name, "value": 10 * seed} for name in ("base", "cut")]

    table = tmp_path / "rows.csv"
    with pytest.raises(KeyboardInterrupt):
        collect(table, evaluate, 4, workers=1, resume=False)
    assert [row["seed"] for row in read_table(table)] == ["0", "0", "1", "1"]
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        collect(table, evaluate, 4, workers=1, resume=True)
    assert asked == [2]
    collect(table, lambda seed: [{"seed": seed, "variant": "base", "value": 7}], 4, workers=1, resume=True)
    assert [(row["seed"], row["value"]) for row in read_table(table)] == [
        *[("0", "0"), ("0", "0"), ("1", "10"), ("1", "10"), ("2", "7"), ("3", "7")]
    ]
