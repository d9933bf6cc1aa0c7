import json
import math

import pytest
import torch

from bundle import benchmark
from bundle.__main__ import main
from bundle.benchmark import BENCHMARKS, found_by, measure
from bundle.benchmark.measure import Settings
from bundle.benchmark.page import write_page
from scripts.perfusion.maps import Method

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
QUICK = Settings(rounds=1, quick=True)


@pytest.fixture
def in_this_process(monkeypatch):
    """Benchmarks run in this process, which has imported everything already."""

    class Future:
        def __init__(self, result):
            self.result = lambda: result

    class Executor:
        def __init__(self, *arguments, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *raised):
            pass

        def submit(self, function, *arguments):
            return Future(function(*arguments))

    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", Executor)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_a_benchmark_writes_its_record_page_and_picture(name, in_this_process, tmp_path, capsys):
    out = tmp_path / "benchmark.json"
    assert main(["benchmark", name, "--quick", "--repeats", "1", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["command"] == f"python -m bundle benchmark {name} --quick --device cpu --repeats 1"
    assert record["quick"]
    (found,) = record["found"].values()
    cases = [row["case"] for row in found["rows"]]
    assert len(set(cases)) == len(cases)
    figures = [figure for row in found["rows"] for figure in row["figures"].values()]
    assert all(math.isfinite(figure["value"]) and figure["value"] >= 0 for figure in figures)
    assert any(figure["limit"] is not None for figure in figures)
    assert all(low <= median <= high for low, median, high in (row["ms"] for row in found["rows"] if row["ms"]))
    for growth in found["growth"]:
        for values in (*growth["ms"].values(), *growth["mib"].values()):
            assert len(values) == len(growth["points"])
    if name == "deconvolution":
        assert {f"{kind}: {method}" for kind in ("estimate", "all maps") for method in Method.__args__} <= set(cases)
        parts = [row["figures"]["part of all"]["value"] for row in found["rows"] if "file to maps" in row["case"]]
        assert all(part > 0 for part in parts)  # every stage was found under its function's name
        assert sum(parts) == pytest.approx(100, abs=0.5)
    page = out.with_suffix(".md").read_text()
    assert f"images/benchmark_{name}.png" in page
    assert (tmp_path / "images" / f"benchmark_{name}.png").read_bytes().startswith(b"\x89PNG")
    assert cases[0] in capsys.readouterr().out


def test_a_process_of_its_own_for_each_of_several(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "BENCHMARKS", {"normalisation": BENCHMARKS["normalisation"]})
    record = measure(["normalisation"], QUICK, tmp_path / "benchmark.json", "a command")
    assert list(record.found) == ["normalisation"]
    assert record.found["normalisation"].rows
    write_page(tmp_path / "page.md", record, BENCHMARKS)
    assert "a quick run" in (tmp_path / "page.md").read_text().casefold()


def test_every_benchmark_is_a_module_with_what_the_frame_needs():
    for module in BENCHMARKS.values():
        assert module.HELP
        assert module.__doc__
        assert callable(module.measure)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_no_gpu(tmp_path, capsys):
    assert main(["benchmark", "normalisation", "--device", "cuda", "--out", str(tmp_path / "x.json")]) == 2
    assert "device: expected one that is available, got cuda" in capsys.readouterr().err


def test_no_rounds(tmp_path, capsys):
    assert main(["benchmark", "normalisation", "--repeats", "0", "--out", str(tmp_path / "x.json")]) == 2
    assert "repeats: expected at least 1, got 0" in capsys.readouterr().err


def test_no_such_device(capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", "training", "--device", "gpu9"])
    assert "--device: expected a device such as cpu or cuda:0, got 'gpu9'" in capsys.readouterr().err


@cuda
@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_a_benchmark_on_a_gpu(name):
    assert found_by(name, QUICK._replace(device=torch.device("cuda"))).rows
