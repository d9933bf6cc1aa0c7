import json
from pathlib import Path

import ignite.distributed as idist
import pytest

from scripts.metrics import CaseMetrics

from .test_handler import ITEMS, evaluate


def evaluate_share(rank: int, folder: str) -> None:
    """Two processes: the first has two cases, the second one and, to even them out, the first case again."""
    share = [ITEMS[0], ITEMS[1]] if rank == 0 else [ITEMS[2], ITEMS[0]]
    handler = CaseMetrics(Path(folder) / "eval")
    engine = evaluate(handler, share, size=1)
    dice = engine.state.metrics["val_mean_dice"]
    (Path(folder) / f"{rank}.json").write_text(json.dumps([[row["case"] for row in handler.rows], dice]))


@pytest.mark.slow
def test_processes_share_their_rows(tmp_path: Path) -> None:
    with idist.Parallel(backend="gloo", nproc_per_node=2) as parallel:
        parallel.run(evaluate_share, str(tmp_path))
    alone = CaseMetrics(tmp_path / "alone")
    expected = evaluate(alone, ITEMS).state.metrics["val_mean_dice"]
    for rank in (0, 1):
        cases, dice = json.loads((tmp_path / f"{rank}.json").read_text())
        assert sorted(cases) == ["case_1", "case_2", "case_3"]
        assert dice == pytest.approx(expected)
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("eval", "alone")]
    assert sorted(rows[0]) == sorted(rows[1])
