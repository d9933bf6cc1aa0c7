import json
import math

import pytest
import torch
from torch.utils.benchmark import Measurement
from torch.utils.benchmark.utils.common import TaskSpec

from bundle.__main__ import main
from bundle.benchmark import BENCHMARKS, Found, found_by, shown, verdict, write
from bundle.benchmark.measure import Figure, Settings
from bundle.benchmark.stages import STAGES
from scripts.perfusion.maps import Method

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
QUICK = Settings(rounds=1, quick=True)


def test_the_command_measures_in_a_process_of_its_own_and_writes_a_record_and_a_page(tmp_path, capsys):
    out = tmp_path / "speed.json"
    assert main(["benchmark", "normalization", "--quick", "--repeats", "1", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["command"] == "python -m bundle benchmark normalization --quick --device cpu --repeats 1"
    assert record["quick"]
    found = record["benchmarks"]["normalization"]
    quartiles = found["times_ms"]["float32, training"]["ours"]
    assert 0 < quartiles[0] <= quartiles[1] <= quartiles[2]
    assert {figure["limit"] for figure in found["figures"]} > {1.6, 1.7, 1e-4, 1e-2}
    page = out.with_suffix(".md").read_text()
    assert "A quick run" in page
    assert "limits are kept" in page
    printed = capsys.readouterr().out
    for text in ("float32, training", "| float32: largest difference from float64 | "):
        assert text in page
        assert text in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "normalization"])
def test_a_benchmark_finds_times_and_figures(name):
    found = found_by(name, QUICK)
    columns = {str(each.task_spec.description) for each in found.times}
    assert all(each.median > 0 for each in found.times)
    assert all(math.isfinite(figure.value) and figure.value >= 0 for figure in found.figures)
    assert len({figure.what for figure in found.figures}) == len(found.figures)
    assert any(figure.limit is not None for figure in found.figures) or name == "stages"
    if name == "maps":
        assert set(Method.__args__) < columns
    if name == "stages":  # every stage was found under its function's name
        assert columns == {*STAGES, "network", "rest"}


def test_the_page_names_what_misses_its_limit(tmp_path):
    times = [Measurement(1, [0.001, 0.002, 0.003], TaskSpec("", "", label="a", sub_label="row", description="ours"))]
    found = {"maps": Found(times, [Figure("ours / floor", 1.7, 1.6), Figure("memory", 3.0, 4.0, "MiB")])}
    made = {"command": "a command", "commit": "abc", "machine": "a machine", "device": "cpu", "quick": False}
    write(tmp_path / "page.json", made, found)
    record = json.loads((tmp_path / "page.json").read_text())
    assert record["benchmarks"]["maps"]["times_ms"] == {"row": {"ours": [1.5, 2.0, 2.5]}}
    page = (tmp_path / "page.md").read_text()
    assert "1 of 2 limits are kept. Missed:\n\n- maps, ours / floor: **1.7** (≤ 1.6)" in page
    assert "| ours / floor | **1.7** | ≤ 1.6 |\n| memory | 3 MiB | ≤ 4 |" in page
    assert "quick run" not in page


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure("a", 1.5, 1.6), "1.5"),
        (Figure("a", 1.7, 1.6), "**1.7**"),
        (Figure("a", 3.0, unit="MiB"), "3 MiB"),
        (Figure("a", 182299), "182,299"),
        (Figure("a", float("nan"), 1.0), "**nan**"),
    ],
)
def test_a_figure_shows_whether_it_keeps_its_limit(figure, text):
    assert shown(figure) == text
    assert ("0 of 1" in verdict({"maps": Found([], [figure])})) == text.startswith("**")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_no_gpu(tmp_path, capsys):
    assert main(["benchmark", "normalization", "--device", "cuda", "--out", str(tmp_path / "x.json")]) == 2
    assert "device: expected one that is available, got cuda" in capsys.readouterr().err


def test_no_rounds(tmp_path, capsys):
    assert main(["benchmark", "normalization", "--repeats", "0", "--out", str(tmp_path / "x.json")]) == 2
    assert "repeats: expected at least 1, got 0" in capsys.readouterr().err


def test_no_such_device(capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", "training", "--device", "gpu9"])
    assert "--device: expected a device such as cpu or cuda:0, got 'gpu9'" in capsys.readouterr().err


@cuda
@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_a_benchmark_on_a_gpu(name):
    assert found_by(name, QUICK._replace(device=torch.device("cuda"))).times
