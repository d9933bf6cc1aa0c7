"""A series of 8 slices of 256 x 256 pixels and 49 frames from its file to its mask, by stage.

The evaluator of `configs/inference.json` runs with the shipped weights, on maps that it computes. Transforms and
post-processing are in the rest.
"""

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch.utils.benchmark import Measurement
from torch.utils.benchmark.utils.common import TaskSpec

from scripts.io import load_case
from scripts.perfusion.arterial_input import find_arterial_input
from scripts.perfusion.bayesian import BayesianEstimator
from scripts.perfusion.examination import examine
from scripts.perfusion.filters import filter_curves
from scripts.workflow import ResultWriter

from ..run import config_files
from .maps import simulated_case, write_series
from .measure import Settings

STAGES: Mapping[str, tuple[CodeType, ...]] = {
    "reading": (load_case.__code__,),
    "movement, brain, baseline": (examine.__code__,),
    "arterial input": (find_arterial_input.__code__,),
    "filter": (filter_curves.__code__,),
    "estimate": (BayesianEstimator.fit_shapes.__code__, BayesianEstimator.from_basis.__code__),
    "writing": (ResultWriter.write_case.__code__,),
}
"""The functions of each stage, none of which calls another."""
MOST_ROUNDS = 3


def measure(settings: Settings) -> Iterator[Measurement]:
    """The time of each stage, with the network in float32 and in bfloat16."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_series(Path(folder) / "case.nii", simulated_case(settings.quick))
        for name, amp in {"float32": False, "bfloat16": True}.items():
            options: dict[str, Any] = {"image": str(path), "output_dir": folder, "overwrite": True, "amp": amp}
            if settings.quick:
                options |= {"features": [2, 4], "image_size": 64, "checkpoint_loader#_disabled_": True}
            segment, network = evaluation({"device": settings.device, **options})
            segment()
            rounds = range(1 if settings.quick else min(settings.rounds, MOST_ROUNDS))
            runs = [profiled(segment, network, settings) for _ in rounds]
            times = {stage: [run[stage] for run in runs] for stage in runs[0]}
            for stage, seconds in times.items():
                task = TaskSpec("", "", label="median times", sub_label=name, description=stage)
                yield Measurement(1, seconds, task)


def evaluation(options: Mapping[str, Any]) -> tuple[Callable[[], None], CodeType]:
    """A function that runs the evaluator of `configs/inference.json`, and the code that runs its network."""
    parser = ConfigParser()
    parser.read_config([str(path) for path in config_files("inference")])
    parser.update(dict(options))
    evaluator = parser.get_parsed_content("evaluator")
    inferer = evaluator.inferer

    def run_network(*arguments: Any, **keywords: Any) -> Any:
        result = inferer(*arguments, **keywords)
        if result.is_cuda:
            torch.cuda.synchronize()
        return result

    evaluator.inferer = run_network
    return evaluator.run, run_network.__code__


def profiled(segment: Callable[[], None], network: CodeType, settings: Settings) -> dict[str, float]:
    """Time in s of each stage."""
    clock = time.process_time if settings.device.type == "cpu" else time.perf_counter
    profiler = cProfile.Profile(clock)
    start_s = clock()
    profiler.runcall(segment)
    total_s = clock() - start_s
    found = pstats.Stats(profiler).stats  # type: ignore[attr-defined]

    def seconds(code: CodeType) -> float:
        return found.get((code.co_filename, code.co_firstlineno, code.co_name), (0, 0, 0.0, 0.0))[3]

    times = {stage: sum(map(seconds, codes)) for stage, codes in {**STAGES, "network": (network,)}.items()}
    return times | {"rest": total_s - sum(times.values())}
