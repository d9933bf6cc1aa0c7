import numpy as np
import pytest

from scripts.metrics import STRATA, size_stratum, summarize


@pytest.mark.parametrize(
    ("volume_ml", "index"), [(0, 5), (1e-3, 2), (9.999, 2), (10, 3), (50, 3), (50.001, 4), (400, 4)]
)
def test_groups(volume_ml: float, index: int) -> None:
    assert size_stratum(volume_ml) == STRATA[index]


@pytest.mark.parametrize("volume_ml", [-1, np.nan])
def test_no_volume(volume_ml: float) -> None:
    with pytest.raises(ValueError, match="volume_ml: expected a volume"):
        size_stratum(volume_ml)


def test_summary_by_hand() -> None:
    rows = [
        {"case": "a", "volume_ml": 5.0, "dice": 0.5, "ssim": 0.8},
        {"case": "b", "volume_ml": 8.0, "dice": 0.7, "ssim": np.nan},
        {"case": "c", "volume_ml": 0.0, "dice": 1.0},
    ]
    summary = summarize(rows)
    assert list(summary) == list(STRATA)
    assert summary["small (< 10 ml)"]["dice"] == pytest.approx({"mean": 0.6, "sd": np.sqrt(0.02), "n": 2})
    assert summary["all"]["dice"]["mean"] == pytest.approx(2.2 / 3)
    assert summary["any lesion"]["dice"] == summary["small (< 10 ml)"]["dice"]
    assert summary["all"]["ssim"] == {"mean": 0.8, "sd": None, "n": 1}
    assert summary["no lesion"]["ssim"] == summary["large (> 50 ml)"]["dice"] == {"mean": None, "sd": None, "n": 0}


def test_chosen_metrics_only() -> None:
    assert list(summarize([{"volume_ml": 1.0, "dice": 1.0}], ["dice"])["all"]) == ["dice"]
