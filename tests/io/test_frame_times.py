"""Frame times come from the option, the datalist, the sidecar or the header, in this order."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from scripts.io import CaseError, DatasetError, check_headers, load_case, load_datalist
from scripts.io.frame_times import FrameTimes, read_times, sidecar_path

from .conftest import AFFINE, SHAPE

TWO_PHASES = [*np.arange(30) * 1.5, *(43.5 + 3.0 * np.arange(1, 16))]
"""30 frames every 1.5 s and 15 every 3 s; their mean interval is 88.5 s / 44."""
MEAN_S = 88.5 / 44


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series of two phases, whose header has the mean interval, as dcm2niix writes it."""
    values = np.random.default_rng(0).integers(0, 300, (*SHAPE, len(TWO_PHASES))).astype(np.int16)
    return write(tmp_path / "ctp.nii.gz", values, MEAN_S)


def write(path: Path, values: np.ndarray, dt_s: float) -> Path:
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = dt_s
    nib.save(image, path)
    return path


def sidecar(series: Path, **content: Any) -> Path:
    path = series.with_name("ctp.json")
    path.write_text(json.dumps({"Modality": "CT", **content}))
    return path


def found(case: dict[str, Any], times: Any = None) -> tuple[FrameTimes, list[str]]:
    loaded = load_case(case, times)
    return loaded["frame_times"], [str(warning) for warning in loaded["warnings"]]


def of_times(warnings: list[str]) -> list[str]:
    return [text for text in warnings if text.startswith(("times_conflict", "mean_interval"))]


@pytest.mark.parametrize("key", ["FrameTimesStart", "VolumeTiming"])
def test_a_sidecar_next_to_the_file_is_used(series: Path, key: str) -> None:
    sidecar(series, **{key: [time + 3 for time in TWO_PHASES]})
    times, warnings = found({"image": str(series)})
    assert times.source == "sidecar"
    assert times.dt_s == pytest.approx(1.5)
    np.testing.assert_allclose(times.value, TWO_PHASES)
    (text,) = of_times(warnings)
    apart_s = np.abs(np.array(TWO_PHASES) - MEAN_S * np.arange(45)).max()
    assert text.startswith(f"times_conflict: {apart_s / 1.5:.3g} intervals, {apart_s:.4g} s, between")
    assert "of the sidecar (used) and of the header (limit 0.5)" in text


def test_the_order_is_option_datalist_sidecar_header(series: Path) -> None:
    case: dict[str, Any] = {"image": str(series)}
    assert found(case)[0] == FrameTimes("header", pytest.approx(MEAN_S, abs=1e-6))
    sidecar(series, FrameTimesStart=TWO_PHASES)
    assert found(case)[0].source == "sidecar"
    times, warnings = found({**case, "times": list(np.arange(45) * 2.0)})
    assert times == FrameTimes("case", 2.0)  # even times are an interval
    assert "of the case (used) and of the sidecar" in "".join(of_times(warnings))
    times, warnings = found({**case, "dt_s": 2.0}, times=1.7)
    assert times == FrameTimes("option", 1.7)
    named = [part for part in ("case", "sidecar", "header") if f"and of the {part}" in "".join(of_times(warnings))]
    assert named == ["case", "sidecar", "header"]


def test_sources_that_agree_are_not_warned_of(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 300, (*SHAPE, 45)).astype(np.int16)
    series = write(tmp_path / "ctp.nii", values, 1.5)
    sidecar(series, FrameTimesStart=[1.5 * frame for frame in range(45)])
    times, warnings = found({"image": str(series)})
    assert times == FrameTimes("sidecar", 1.5)
    assert of_times(warnings) == []


def test_a_sidecar_without_times_is_none(series: Path) -> None:
    sidecar(series, RepetitionTime=2)
    assert found({"image": str(series)})[0].source == "header"
    series.with_name("ctp.json").write_text("[1, 2]")
    assert found({"image": str(series)})[0].source == "header"


@pytest.mark.parametrize(
    ("frames", "dt_s", "warned"),
    [(46, 2.0114, True), (46, 1.97, True), (46, 1.7, False), (46, 2.0, False), (45, 2.0114, False), (45, 2.81, True)],
)
def test_an_interval_that_may_be_a_mean_is_warned_of(tmp_path: Path, frames: int, dt_s: float, warned: bool) -> None:
    values = np.random.default_rng(0).integers(0, 300, (*SHAPE, frames)).astype(np.int16)
    texts = of_times(found({"image": str(write(tmp_path / "x.nii", values, dt_s))})[1])
    assert bool(texts) == warned
    if warned:
        assert (
            f"the header's {dt_s:.5g} s between {frames} frames may be a mean of uneven times; give times" in texts[0]
        )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\n".join(map(str, TWO_PHASES)), "times.txt"),
        (", ".join(map(str, TWO_PHASES)), "times.csv"),
        (json.dumps(TWO_PHASES), "times.json"),
        (json.dumps({"FrameTimesStart": TWO_PHASES, "Modality": "CT"}), "bids.json"),
    ],
)
def test_files_of_times(series: Path, tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_times(path) == pytest.approx(TWO_PHASES)
    times, _ = found({"image": str(series)}, times=path)
    assert times.source == "option"
    np.testing.assert_allclose(times.value, TWO_PHASES)


WRONG = {
    "count": (TWO_PHASES[:-1], "expected the times of 45 frames in s, got 44"),
    "order": ([*TWO_PHASES[:8], 5.0, *TWO_PHASES[9:]], r"got 5 s after 10\.5 s \(frame 8\), which does not rise"),
    "nan": ([*TWO_PHASES[:8], float("nan"), *TWO_PHASES[9:]], "got nan for frame 8"),
    "ms": ([1000 * time for time in TWO_PHASES], "got frames 1500 s apart, .*: are these milliseconds"),
    "text": (["a", *TWO_PHASES[1:]], "got 'a' among them"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("source", ["option", "file", "datalist", "sidecar"])
def test_times_that_are_none_are_one_clear_error(series: Path, tmp_path: Path, wrong: str, source: str) -> None:
    times, message = WRONG[wrong]
    case: dict[str, Any] = {"image": str(series), "case": "one"}
    option: Any = times if source == "option" else None
    if source == "sidecar":
        sidecar(series, FrameTimesStart=times)
    elif source == "datalist":
        case["times"] = times
    elif source == "file":
        option = tmp_path / "times.json"
        option.write_text(json.dumps(times))
    with pytest.raises(CaseError, match=rf"^case 'one', times .*{message}") as caught:
        load_case(case, option)
    assert "\n" not in str(caught.value)
    if source == "sidecar":
        assert f"'{series.with_name('ctp.json')}'" in str(caught.value)
        assert load_case(case, 1.5)["frame_times"].source == "option", "a better source makes up for it"
    if source == "datalist":
        with pytest.raises(DatasetError, match=message):
            check_headers([case])


@pytest.mark.parametrize("dt_s", [0, -1.5, 1500.0, float("nan"), True])
def test_an_interval_that_no_scan_has(series: Path, dt_s: float) -> None:
    with pytest.raises(CaseError, match=r"case 'ctp', (dt_s|times) of '.*ctp\.nii\.gz': expected "):
        load_case({"image": str(series), "dt_s": dt_s})


def test_files_that_hold_no_times(series: Path, tmp_path: Path) -> None:
    for name, content in {
        "a.txt": "0 one 2",
        "b.json": "[1, 2",
        "c.json": "{}",
        "d.json": '{"VolumeTiming": 3}',
    }.items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(CaseError, match=rf"case 'ctp', times '.*{name}': expected the times of 45 frames"):
            load_case({"image": str(series)}, path)
    with pytest.raises(FileNotFoundError, match=r"times '/none\.txt': expected a file with frame times"):
        load_case({"image": str(series)}, "/none.txt")
    with pytest.raises(CaseError, match="expected one of times and dt_s, got both"):
        load_case({"image": str(series), "times": TWO_PHASES, "dt_s": 1.5})


def test_a_datalist_states_times(series: Path, tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("\n".join(map(str, TWO_PHASES)))
    cases = [
        {"case": "a", "image": "ctp.nii.gz", "times": TWO_PHASES},
        {"case": "b", "image": "ctp.nii.gz", "times": "times.txt"},
        {"case": "c", "image": "ctp.nii.gz", "dt_s": 2.0},
    ]
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps({"testing": cases}))
    listed = load_datalist(datalist, "testing", tmp_path)
    assert listed[1]["times"] == str(tmp_path / "times.txt")
    values = [load_case(case)["frame_times"].value for case in listed]
    np.testing.assert_allclose(values[:2], [TWO_PHASES, TWO_PHASES])
    assert values[2] == 2.0
    datalist.write_text(json.dumps({"testing": [{**cases[1], "times": "../times.txt"}]}))
    with pytest.raises(DatasetError, match="times: expected a path inside dataset_dir"):
        load_datalist(datalist, "testing", tmp_path)


@pytest.mark.parametrize("name", ["a.b.nii.gz", "a.b.nii", "a.b.NII.GZ"])
def test_where_a_sidecar_lies(name: str) -> None:
    assert sidecar_path(Path("/d") / name) == Path("/d/a.b.json")


def test_what_results_record() -> None:
    assert FrameTimes("header", 1.5).as_json() == {"source": "header", "dt_s": 1.5}
    uneven = FrameTimes("sidecar", 1.5, (0.0, 1.5, 4.5))
    assert uneven.as_json() == {"source": "sidecar", "dt_s": 1.5, "times_s": [0.0, 1.5, 4.5]}
