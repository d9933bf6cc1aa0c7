import math

import pytest
import torch

from bundle.__main__ import main
from bundle.benchmark.command import BENCHMARKS, measure
from bundle.benchmark.measurement import Settings, read_record

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(
    scope="module", params=["normalisation", "inference", "training", "deconvolution", "loading", "phantom"]
)
def quick(request, tmp_path_factory):
    """The JSON file of a benchmark at its smallest size."""
    out = tmp_path_factory.mktemp(request.param) / "benchmark.json"
    assert main(["benchmark", request.param, "--quick", "--repeats", "1", "--out", str(out)]) == 0
    return out


def test_a_benchmark_writes_its_record_page_and_picture(quick):
    record = read_record(quick)
    ((name, found),) = record.found.items()
    assert record.quick
    assert record.command == f"python -m bundle benchmark {name} --quick --device cpu --repeats 1"
    assert len({row.case for row in found.rows}) == len(found.rows)
    figures = [figure for row in found.rows for figure in row.figures.values()]
    assert all(math.isfinite(figure.value) and figure.value >= 0 for figure in figures)
    assert name == "phantom" or any(figure.wanted is not None for figure in figures)  # it takes the time it takes
    assert all(row.timing.median_ms > 0 for row in found.rows if row.timing is not None)
    assert found.scaling
    for scaling in found.scaling:
        for values in (*scaling.time_ms.values(), *scaling.memory_mib.values()):
            assert len(values) == len(scaling.points)
    assert f"images/{quick.stem}_{name}.png" in quick.with_suffix(".md").read_text()
    assert (quick.parent / "images" / f"{quick.stem}_{name}.png").is_file()


def test_several_in_processes_of_their_own(tmp_path):
    settings = Settings(torch.device("cpu"), repeats=1, quick=True, dataset_dir=tmp_path)
    names = ["loading", "phantom"]
    record = measure(names, settings, tmp_path / "benchmark.json", "a command")
    assert list(record.found) == names
    assert all(found.rows for found in record.found.values())


def test_the_page_is_made_again_from_the_record(quick, tmp_path):
    again = tmp_path / quick.with_suffix(".md").name
    assert main(["benchmark", "page", str(quick), "--page", str(again)]) == 0
    assert again.read_text() == quick.with_suffix(".md").read_text()


def test_a_record_compared_with_itself(quick, capsys):
    assert main(["benchmark", "compare", str(quick), str(quick)]) == 0
    assert "**worse**" not in capsys.readouterr().out


def test_a_record_that_got_worse(quick, tmp_path, capsys):
    worse = tmp_path / "worse.json"
    record = read_record(quick)
    ((name, found),) = record.found.items()
    row = next(row for row in found.rows if "times its floor" in row.figures)
    figure = row.figures["times its floor"]
    text = quick.read_text().replace(f'"value": {figure.value}', f'"value": {2 * figure.value}')
    worse.write_text(text)
    assert main(["benchmark", "compare", str(quick), str(worse)]) == 2
    captured = capsys.readouterr()
    assert f"{name}, {row.case}: times its floor" in captured.err
    assert "**worse**" in captured.out


def test_every_benchmark_is_a_module_with_what_the_frame_needs():
    for module in BENCHMARKS.values():
        assert module.HELP
        assert module.__doc__
        assert callable(module.measure)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_no_gpu(tmp_path, capsys):
    assert main(["benchmark", "normalisation", "--device", "cuda", "--out", str(tmp_path / "x.json")]) == 2
    assert "device: expected one that is at hand, got cuda" in capsys.readouterr().err


def test_no_such_device(capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", "loading", "--device", "gpu9"])
    assert "--device: expected a device such as cpu or cuda:0, got 'gpu9'" in capsys.readouterr().err


@cuda
@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_a_benchmark_on_a_gpu(name, tmp_path):
    out = tmp_path / "benchmark.json"
    assert main(["benchmark", name, "--quick", "--repeats", "2", "--device", "cuda", "--out", str(out)]) == 0
    assert read_record(out).device == "cuda"
