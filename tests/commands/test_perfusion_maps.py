"""The command, end to end: what it writes, its options, and errors that leave nothing behind."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts import cli
from scripts.commands import maps as maps_command
from scripts.commands import perfusion_maps as command
from scripts.io.case import load_case
from scripts.perfusion import PerfusionVolumes, perfusion_maps
from scripts.perfusion.filters import DEFAULT_SMOOTHING_MM as FILTER_SMOOTHING_MM
from scripts.perfusion.hemispheres import right_side
from scripts.perfusion.maps import Method
from tests.conftest import ROOT
from tests.perfusion.curves import arterial_curve
from tests.perfusion.head import N_FRAMES, SHAPE, SPACING_MM, head

AFFINE = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])  # the first axis runs to the patient's left
VOXEL_ML = 0.032
MAPS = {
    "cbf": "CBF [ml/100 g/min]",
    "cbv": "CBV [ml/100 g]",
    "mtt": "MTT [s]",
    "tmax": "Tmax [s]",
    "ttp": "TTP [s after the first frame]",
}
DEVIATIONS = {
    "cbf_sd": "standard deviation of CBF [ml/100 g/min]",
    "cbv_sd": "standard deviation of CBV [ml/100 g]",
    "tmax_sd": "standard deviation of Tmax [s]",
}
MASKS = {
    "brain": "brain",
    "tissue": "tissue: brain without vessels and fluid",
    "core": "core: rCBF < 0.3 and Tmax > 6 s",
    "delay": "Tmax > 6 s",
}
NORMAL, DELAYED = (slice(50, 60), slice(40, 55)), (slice(14, 22), slice(40, 55))


def main(arguments: list[str]) -> int:
    return cli.main(["maps", *arguments])


def save(path: Path, array: np.ndarray, dt_s: float = 0.0, affine: np.ndarray = AFFINE) -> str:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "sec")
    if array.ndim == 4:
        image.header["pixdim"][4] = dt_s
    nib.save(image, path)
    return str(path)


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    """(H, W, D, T); skull-stripped, so that every step of the command is quick."""
    return np.moveaxis(head(stripped=True)[0].numpy(), 0, -1)


@pytest.fixture(scope="module")
def scan(series: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("scan") / "patient.nii", series, 1.0)


@pytest.fixture(scope="module")
def results(scan: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "new" / "folder"
    assert main([scan, "--out", str(out), "--smoothing-mm", "3"]) == 0
    return out


@pytest.fixture(scope="module")
def by_singular_values(scan: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("osvd")
    assert main([scan, "--out", str(out), "--smoothing-mm", "3", "--method", "osvd"]) == 0
    return out


def array(results: Path, name: str) -> np.ndarray:
    return np.asanyarray(nib.load(results / f"patient_{name}.nii.gz").dataobj)


def summary(results: Path) -> dict:
    return json.loads((results / "summary.json").read_text())


def test_command_writes_maps_and_masks_with_their_unit_on_the_grid_of_the_series(results: Path) -> None:
    files = MAPS | DEVIATIONS | MASKS
    names = {f"patient_{name}.nii.gz" for name in files} | {"patient_perfusion.png", "summary.json"}
    assert {path.name for path in results.iterdir()} == names
    for name, description in files.items():
        image = nib.load(results / f"patient_{name}.nii.gz")
        assert image.header["descrip"].item().decode() == description
        assert image.get_data_dtype() == (np.uint8 if name in MASKS else np.float32)
        assert image.shape == SHAPE
        assert image.affine == pytest.approx(AFFINE)


def test_maps_on_disk_show_the_flow_that_went_in(results: Path) -> None:
    brain = array(results, "brain") > 0
    assert float(array(results, "cbf")[NORMAL].mean()) == pytest.approx(50, rel=0.3)
    assert float(array(results, "cbf")[DELAYED].mean()) == pytest.approx(12, rel=0.25)
    assert 6.5 < array(results, "tmax")[DELAYED].mean() - array(results, "tmax")[NORMAL].mean() < 9
    assert not any(array(results, name)[~brain].any() for name in MAPS | DEVIATIONS)


def test_storage_changes_nothing_but_the_grid(series: np.ndarray, results: Path, tmp_path: Path) -> None:
    """The same head as scaled int16, with its axes the other way round and tilted in space."""
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    affine = tilt @ np.diag([SPACING_MM[0], SPACING_MM[1], SPACING_MM[2], 1.0])
    image = nib.Nifti1Image(series[::-1, ::-1], affine)
    image.header.set_data_dtype(np.int16)  # nibabel chooses slope and intercept
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 1000
    path = tmp_path / "patient.nii.gz"
    nib.save(image, path)
    assert main([str(path), "--out", str(tmp_path / "out"), "--smoothing-mm", "3"]) == 0
    for name, tolerance in {"cbf": 1.0, "cbv": 0.1, "tmax": 0.1}.items():
        difference = np.abs(array(tmp_path / "out", name)[::-1, ::-1] - array(results, name))
        assert np.quantile(difference, 0.99) < tolerance
    sides = [json.loads((folder / "summary.json").read_text())["side"] for folder in (results, tmp_path / "out")]
    assert sides == ["right", "right"]
    assert nib.load(tmp_path / "out" / "patient_cbf.nii.gz").affine == pytest.approx(affine)


def test_summary_has_the_numbers_of_the_masks(results: Path) -> None:
    found, (_, brain, artery) = summary(results), head(stripped=True)
    core, delay = array(results, "core") > 0, array(results, "delay") > 0
    assert found["case"] == "patient"
    assert found["dt_s"] == 1.0
    assert found["brain_ml"] == pytest.approx(float(brain.sum()) * VOXEL_ML, rel=0.05)
    assert found["core_ml"] == pytest.approx(core.sum() * VOXEL_ML, abs=1e-3)
    assert found["tmax_ml"]["6"] == pytest.approx(delay.sum() * VOXEL_ML, abs=1e-3)
    assert found["mismatch_ml"] == pytest.approx((delay.sum() - core.sum()) * VOXEL_ML, abs=1e-3)
    assert found["core_ml"] > 0
    assert found["side"] == "right"  # small indices of the first axis are the patient's right
    assert found["flags"]["defuse3"]["core_ml"] == found["core_ml"]
    assert found["warnings"] == []
    assert np.mean([bool(artery[tuple(voxel)]) for voxel in found["aif_voxels"]]) > 0.9
    assert max(found["aif_hu"]) == pytest.approx(300, rel=0.1)
    assert len(found["aif_hu"]) == len(found["vof_hu"]) == N_FRAMES


def test_volumes_side_and_reference_follow_from_the_files_alone(results: Path) -> None:
    found, tissue = summary(results), array(results, "tissue") > 0
    cbf, cbv, tmax = (array(results, name) for name in ("cbf", "cbv", "tmax"))
    delayed = tissue & (tmax > 6)
    right = right_side(torch.from_numpy(tissue), torch.from_numpy(AFFINE)).numpy()
    side, other = ("right", ~right) if (delayed & right).sum() > (delayed & ~right).sum() else ("left", right)
    normal = tissue & other & (tmax < 4) & (cbf > 0)
    reference = np.sort(cbf[normal])[(normal.sum() - 1) // 2]
    assert found["side"] == side
    assert found["reference_ml"] == pytest.approx(normal.sum() * VOXEL_ML, abs=1e-3)
    assert found["reference_cbf"] == pytest.approx(reference, abs=1e-3)
    assert found["reference_cbv"] == pytest.approx(cbv[normal].mean(), abs=1e-3)
    core = delayed & (cbf < 0.3 * reference)
    assert found["core_ml"] == pytest.approx(core.sum() * VOXEL_ML, abs=1e-3)
    assert np.array_equal(core, array(results, "core") > 0)
    for limit in (4, 6, 8, 10):
        assert found["tmax_ml"][str(limit)] == pytest.approx((tissue & (tmax > limit)).sum() * VOXEL_ML, abs=1e-3)
    assert found["cbv_index"] == pytest.approx(cbv[delayed].mean() / cbv[normal].mean(), abs=1e-3)


def test_without_standard_deviations_there_are_no_intervals(by_singular_values: Path) -> None:
    assert not list(by_singular_values.glob("*_sd.nii.gz"))
    found = summary(by_singular_values)
    assert [found[f"{name}_interval"] for name in ("core_ml", "mismatch_ml", "mismatch_ratio")] == [None] * 3
    assert found["tmax_ml_interval"] == {"6": None}


def test_standard_deviations_are_written_and_give_intervals(
    scan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deviations = {"cbf_sd": 3.0, "cbv_sd": 0.3, "tmax_sd": 1.0}

    def with_deviations(*arguments: object, **options: object) -> PerfusionVolumes:
        maps = perfusion_maps(*arguments, **options)
        return maps._replace(**{name: torch.full_like(maps.cbf, sd) for name, sd in deviations.items()})

    monkeypatch.setattr(command, "perfusion_maps", with_deviations)
    assert main([scan, "--out", str(tmp_path), "--smoothing-mm", "3", "--core-rcbf", "0.24"]) == 0
    for name, sd in deviations.items():
        assert (array(tmp_path, name) == np.float32(sd)).all()
    found = summary(tmp_path)
    for value, (low, high) in (
        (found["core_ml"], found["core_ml_interval"]),
        (found["tmax_ml"]["6"], found["tmax_ml_interval"]["6"]),
        (found["mismatch_ml"], found["mismatch_ml_interval"]),
        (found["mismatch_ratio"], found["mismatch_ratio_interval"]),
    ):
        assert low < value < high
    low, high = found["core_ml_interval"]
    assert f"core {found['core_ml']:.1f} ({low:.1f}-{high:.1f}) ml" in capsys.readouterr().out


def test_help_and_mistyped_options_import_nothing_heavy() -> None:
    """Torch alone takes two seconds; `--help` shall answer within one."""
    code = (
        "import sys, runpy; sys.argv = ['perfusion', *sys.argv[1:]]\n"
        "try: runpy.run_module('scripts.perfusion', run_name='__main__')\n"
        "except SystemExit as end: print(end.code)\n"
        "print(*{'torch', 'monai', 'matplotlib', 'nibabel', 'ignite'} & sys.modules.keys())"
    )
    for arguments, status in ((["--help"], "0"), (["scan.nii", "--uot", "x"], "2")):
        command_line = [sys.executable, "-c", code, *arguments]
        lines = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
        assert lines[-3:] == [status, "", ""]


def test_what_the_parser_knows_without_imports_is_what_the_modules_say() -> None:
    assert get_args(Method) == get_args(maps_command.Method)
    assert maps_command.DEFAULT_SMOOTHING_MM == FILTER_SMOOTHING_MM


def test_the_orientation_of_the_user_reaches_the_case_and_every_output(
    scan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def load(case: dict, times: None) -> dict:
        seen.append(case["orientation"])
        return load_case({"image": case["image"]})

    monkeypatch.setattr(command, "load_case", load)
    assert main([scan, "--out", str(tmp_path), "--smoothing-mm", "3", "--orientation", "lps"]) == 0
    assert seen == ["LPS"]
    assert summary(tmp_path)["orientation"] == "LPS"
    assert "patient (orientation LPS as given): side " in capsys.readouterr().out


@pytest.mark.parametrize("letters", ["RRS", "RA", "XYZ", "RASL"])
def test_an_orientation_names_three_directions(letters: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([__file__, "--out", "out", "--orientation", letters]) == 2
    assert f"as RAS, got {letters}" in capsys.readouterr().err


def test_options_replace_what_the_header_says_and_what_is_found(
    series: np.ndarray, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = save(tmp_path / "scan.nii.gz", series, 2.0)
    save(tmp_path / "artery.nii.gz", head(stripped=True)[2].numpy().astype(np.uint8))
    (tmp_path / "times.txt").write_text("\n".join(f"{frame:.1f}" for frame in range(N_FRAMES)))
    (tmp_path / "curve.csv").write_text(",".join(map(str, arterial_curve(np.arange(N_FRAMES, dtype=float)))))
    brain = str(results / "patient_brain.nii.gz")
    given = {
        "mask": ["--aif", str(tmp_path / "artery.nii.gz"), "--dt-s", "1", "--no-motion-correction"],
        "voxel": ["--aif", "45,71,0", "--times", str(tmp_path / "times.txt")],
        "curve": ["--aif", str(tmp_path / "curve.csv"), "--dt-s", "1", "--core-rcbf", "0.38", "--delay-s", "5"],
    }
    for name, options in given.items():
        out = tmp_path / name
        assert main([scan, "--out", str(out), "--brain", brain, *options]) == 0
        assert json.loads((out / "summary.json").read_text())["dt_s"] == 1.0
        assert nib.load(out / "scan_cbf.nii.gz").get_fdata()[NORMAL].mean() == pytest.approx(50, rel=0.35), name
        assert np.array_equal(nib.load(out / "scan_brain.nii.gz").get_fdata(), array(results, "brain"))
    assert nib.load(tmp_path / "curve" / "scan_core.nii.gz").header["descrip"].item().decode() == (
        "core: rCBF < 0.38 and Tmax > 5 s"
    )
    by_voxel = json.loads((tmp_path / "voxel" / "summary.json").read_text())
    assert by_voxel["aif_voxels"] == [[45, 71, 0]]
    lines = [line for line in capsys.readouterr().out.splitlines() if "warning" not in line]
    assert [line.split(":")[0] for line in lines] == ["scan"] * 3
    assert "Tmax > 5 s" in lines[2]


def test_fixed_truncation_underestimates_the_flow_more(scan: str, by_singular_values: Path, tmp_path: Path) -> None:
    assert main([scan, "--out", str(tmp_path), "--smoothing-mm", "3", "--method", "bcsvd"]) == 0
    assert 20 < array(tmp_path, "cbf")[NORMAL].mean() < 0.9 * array(by_singular_values, "cbf")[NORMAL].mean()
    assert array(tmp_path, "cbv")[NORMAL] == pytest.approx(array(by_singular_values, "cbv")[NORMAL], rel=1e-3)


def test_warnings_are_named_with_their_numbers(
    series: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = save(tmp_path / "cut.nii", series[..., :25], 1.0)
    assert main([scan, "--out", str(tmp_path / "out")]) == 0
    warnings = {found["name"]: found for found in summary(tmp_path / "out")["warnings"]}
    cut = warnings["short_after_peak"]
    assert cut["value"] < cut["limit"] == 20
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("cut: warning: short_after_peak: ") for line in lines[1:])


def without_time(folder: Path, series: np.ndarray) -> list[str]:
    return [save(folder / "bad.nii", series, 0.0)]


def three_dimensional(folder: Path, series: np.ndarray) -> list[str]:
    return [save(folder / "bad.nii", series[..., 0])]


def short(folder: Path, series: np.ndarray) -> list[str]:
    return [save(folder / "bad.nii", series[..., :8], 1.0)]


def with_nan(folder: Path, series: np.ndarray) -> list[str]:
    series = series.copy()
    series[40, 40, 0, 5] = np.nan
    return [save(folder / "bad.nii", series, 1.0)]


def truncated(folder: Path, series: np.ndarray) -> list[str]:
    path = Path(save(folder / "bad.nii", series, 1.0))
    path.write_bytes(path.read_bytes()[:-1000])
    return [str(path)]


def without_contrast(folder: Path, series: np.ndarray) -> list[str]:
    noise = np.random.default_rng(0).normal(0, 0.5, series.shape).astype(np.float32)
    return [save(folder / "bad.nii", np.where(series[..., :1] == 0, 0, 34 + noise), 1.0)]


def absent(folder: Path, series: np.ndarray) -> list[str]:
    return [str(folder / "absent.nii")]


def with_options(*options: str) -> Callable[[Path, np.ndarray], list[str]]:
    return lambda folder, series: [save(folder / "bad.nii", series, 1.0), *options]


def words_for_times(folder: Path, series: np.ndarray) -> list[str]:
    (folder / "times.txt").write_text("0 one 2")
    return [save(folder / "bad.nii", series, 1.0), "--times", str(folder / "times.txt")]


def smaller_brain(folder: Path, series: np.ndarray) -> list[str]:
    brain = save(folder / "brain.nii", np.ones((4, 4, 2), np.uint8))
    return [save(folder / "bad.nii", series, 1.0), "--brain", brain]


def binary_times(folder: Path, series: np.ndarray) -> list[str]:
    (folder / "times.txt").write_bytes(b"\xff\xfe1\x00")
    return [save(folder / "bad.nii", series, 1.0), "--times", str(folder / "times.txt")]


def brain_elsewhere(folder: Path, series: np.ndarray) -> list[str]:
    brain = save(folder / "brain.nii", np.ones(SHAPE, np.uint8), affine=np.diag([2.0, 2.0, 8.0, 1.0]))
    return [save(folder / "bad.nii", series, 1.0), "--brain", brain]


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (absent, 2, "absent.nii' does not exist"),
        (truncated, 1, "a truncated file"),
        (three_dimensional, 1, "expected a 4D series (H, W, D, T), got 3D"),
        (short, 1, "expected at least 12 frames, got 8"),
        (with_nan, 1, "expected finite values, got 1 NaN or infinite"),
        (without_contrast, 1, "bad.nii': expected a CT-perfusion series of a brain, got series must show"),
        (without_time, 2, "--dt-s: expected the time between frames in s, as the header of"),
        (words_for_times, 1, "times.txt': expected the times of 45 frames in s, got a text that is no list of numbers"),
        (with_options("--dt-s", "-1"), 1, "expected a time between frames in s, got frames -1 s apart, where"),
        (with_options("--dt-s", "abc"), 2, "Invalid value for '--dt-s'"),
        (binary_times, 1, "times.txt': expected the times of 45 frames in s, got a text that is no list of numbers"),
        (
            with_options("--aif", "40,40,9"),
            2,
            "--aif: expected the indices of a voxel of the image (80, 96, 2), got (40, 40, 9)",
        ),
        (smaller_brain, 2, "expected a mask (80, 96, 2) like the series, got (4, 4, 2)"),
        (brain_elsewhere, 2, "expected the affine of the series within 0.1 mm, got voxels up to"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_errors_are_one_line_and_leave_nothing_behind(
    arguments: Callable,
    status: int,
    expected: str,
    series: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = arguments(tmp_path, series)
    assert main([*line, "--out", str(tmp_path / "out")]) == status
    assert not (tmp_path / "out").exists()
    captured = capsys.readouterr()
    message = captured.err.split("\r")[-1]  # what the progress bar wrote is erased
    assert re.match("ctp-stroke( maps)?: error: ", message)
    assert expected in message
    assert message.count("\n") == 1
    assert captured.out == ""


def test_a_folder_that_cannot_be_made_is_an_error(
    scan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    assert main([scan, "--out", str(tmp_path / "file")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"
    assert "error: " in capsys.readouterr().err


def test_results_in_a_folder_that_is_there_replace_their_like_alone(scan: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"case": "patient"}')
    (tmp_path / "notes.txt").write_text("kept")
    assert main([scan, "--out", str(tmp_path), "--smoothing-mm", "3"]) == 0
    assert summary(tmp_path)["case"] == "patient"
    assert (tmp_path / "notes.txt").read_text() == "kept"
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


def test_an_error_while_writing_leaves_the_folder_as_it_was(
    scan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("scripts.report.perfusion_panel.write_panel", full)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text('{"case": "patient"}')
    assert main([scan, "--out", str(tmp_path / "out")]) == 1
    assert "error: No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "summary.json").read_text() == '{"case": "patient"}'


@pytest.mark.parametrize("option", ["--smoothing-mm", "--core-rcbf", "--delay-s"])
def test_limits_that_make_no_sense_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("nan", "-1"):
        assert main([__file__, "--out", "out", f"{option}={value}"]) == 2
        assert f"'{option}': expected a finite number that is not negative, got {value}" in capsys.readouterr().err


def test_results_of_another_series_are_not_replaced_in_silence(
    series: np.ndarray, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in results.iterdir()}
    for name in ("patient.nii", "somebody.nii"):
        other = save(tmp_path / name, series + 1, 1.0)
        assert main([other, "--out", str(results)]) == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert "got the results of" in message
        assert "--overwrite" in message
    assert {path.name: path.read_bytes() for path in results.iterdir()} == before
