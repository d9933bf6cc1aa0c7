"""Many inferences in one process leave its memory as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from .campaign import EXAMPLES, LOST, NEAR, Verdict

GROWTH_MB = 16
"""Largest growth after the warm-up: an eighth of what one case of usual size takes (a choice)."""


def resident_mb() -> float:
    """Memory that this process has in use, MB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat(
    workflow: Callable[..., ConfigWorkflow], dataset_dir: Path, count: Callable[[str, str, Verdict], None]
) -> None:
    number = min(5 * EXAMPLES, 300)
    case = {key: str(dataset_dir / "case_4" / f"{key}.nii") for key in ("image", "cbf", "cbv", "mtt", "tmax")}
    cases = [{"case": f"case_{index}", **case} for index in range(number)]
    overrides = {"dataset#data": cases, "checkpoint_loader#_disabled_": True, "min_lesion_ml": 0}
    inference = workflow("inference", workflow_type="infer", **overrides)
    memory: list[float] = []
    evaluator = inference.parser.get_parsed_content("evaluator")
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: memory.append(resident_mb()))
    inference.run()
    assert len(memory) == number
    tenth = max(number // 10, 1)
    growth = float(np.median(memory[-tenth:]) - np.median(memory[2 * tenth : 3 * tenth]))
    verdict = Verdict(NEAR if growth < GROWTH_MB else LOST, f"{growth:.1f} MB more after {number} cases")
    count("soak", f"{number} cases", verdict)
