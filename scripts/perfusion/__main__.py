"""Command line: ``python -m scripts.perfusion CTP.nii.gz --out DIR``."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from tqdm import tqdm

from ..io.atomic import write_json
from ..io.atomic_folder import files_together
from ..io.case import GRID_TOLERANCE_MM, grid_shift_mm, load_case
from ..io.errors import CaseError
from ..io.nifti import read_nifti, write_nifti
from .arterial_input import AifSource
from .deconvolution import Method
from .maps import DEFAULT_SMOOTHING_MM, PerfusionVolumes, perfusion_maps
from .panel import write_panel
from .quality import check_quality, refuse_unusable
from .reading import ReadingThresholds, read_maps

_UNITS = {
    "cbf": "CBF [ml/100 g/min]",
    "cbv": "CBV [ml/100 g]",
    "mtt": "MTT [s]",
    "tmax": "Tmax [s]",
    "ttp": "TTP [s after the first frame]",
}
_SUMMARY = "summary.json"
_MASKS = {"brain": "brain", "core": "core: rCBF < {core:g} and Tmax > {delay:g} s", "delay": "Tmax > {delay:g} s"}


class _Grid(NamedTuple):
    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.perfusion",
        description="Perfusion maps (CBF, CBV, MTT, Tmax, TTP), core and hypoperfusion of a CT-perfusion series: NIfTI "
        "files, summary.json and a picture. For research, not for patients.",
    )
    parser.add_argument("series", type=Path, help="4D NIfTI (H, W, D, T) in HU")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--dt_s", help="time between frames in s, or a text file with the time of every frame")
    parser.add_argument("--aif", help="arterial curve (text file, HU), mask (NIfTI) or voxel (i,j,k); default: found")
    parser.add_argument("--brain", type=Path, help="brain mask (NIfTI); default: found")
    parser.add_argument("--motion_correction", action="store_true", help="align the frames first (off)")
    parser.add_argument("--method", choices=get_args(Method), default="osvd", help="deconvolution (default osvd)")
    parser.add_argument(
        "--smoothing_mm",
        type=_not_negative,
        default=DEFAULT_SMOOTHING_MM,
        help=f"neighbourhood of the guided filter, a standard deviation in mm ({DEFAULT_SMOOTHING_MM:g}); 0 for none",
    )
    parser.add_argument(
        "--core_rcbf", type=_not_negative, default=0.30, help="core below this share of normal flow (0.30)"
    )
    parser.add_argument("--delay_s", type=_not_negative, default=6.0, help="hypoperfusion above this Tmax in s (6)")
    return parser


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number that is not negative, got {text}")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    return 0


def _run(options: argparse.Namespace) -> None:
    with tqdm(total=4, desc="reading", unit="step", leave=False) as steps:

        def next_step(name: str) -> None:
            steps.update()
            steps.set_description(name)

        loaded = load_case({"image": options.series})
        case, affine = loaded["case"], loaded["affine"]
        series = torch.from_numpy(loaded["image"]).permute(3, 0, 1, 2)
        size = voxel_sizes(affine).tolist()
        spacing_mm = (size[0], size[1], size[2])
        grid = _Grid(tuple(series.shape[1:]), affine)
        times_s = _times(options.dt_s, loaded["dt_s"], options.series)
        aif = None if options.aif is None else _aif(options.aif, grid)
        brain = None if options.brain is None else _mask(options.brain, "brain", grid)
        next_step("maps")
        try:
            maps = perfusion_maps(
                series,
                times_s,
                spacing_mm,
                aif=aif,
                brain=brain,
                motion_correction=options.motion_correction,
                method=options.method,
                smoothing_mm=options.smoothing_mm,
            )
            warnings = check_quality(series, maps, spacing_mm)
            refuse_unusable(warnings)
        except ValueError as error:
            raise CaseError.of(case, "image", options.series, "a CT-perfusion series of a brain", str(error)) from error
        next_step("reading of the maps")
        thresholds = ReadingThresholds(core_rcbf=options.core_rcbf, hypoperfusion_s=options.delay_s)
        reading, core, delayed = read_maps(
            maps.cbf, maps.cbv, maps.tmax, maps.tissue, torch.from_numpy(affine), spacing_mm, thresholds
        )
        summary = {
            "case": case,
            "dt_s": maps.dt_s,
            "frames_before_contrast": maps.n_baseline,
            "brain_ml": round(float(maps.brain.sum()) * math.prod(spacing_mm) / 1000, 3),
            **_arterial_summary(maps),
            **reading.as_json(),
            "warnings": [
                {"name": found.name, "value": round(found.value, 4), "limit": found.limit, "unit": found.unit}
                for found in warnings
            ],
        }
        next_step("writing")
        with files_together(options.out, last=_SUMMARY) as folder:
            _write(folder, case, maps, core, delayed, affine, thresholds, summary)
    print(
        f"{case}: core {reading.core_ml:.1f} ml, Tmax > {options.delay_s:g} s "
        f"{reading.core_ml + reading.mismatch_ml:.1f} ml, side {reading.side}; {options.out}"
    )
    for found in warnings:
        print(f"{case}: warning: {found}")


def _write(
    out: Path,
    case: str,
    maps: PerfusionVolumes,
    core: torch.Tensor,
    delayed: torch.Tensor,
    affine: NDArray[np.float64],
    thresholds: ReadingThresholds,
    summary: dict,
) -> None:
    for name, description in _UNITS.items():
        write_nifti(out / f"{case}_{name}.nii.gz", getattr(maps, name).numpy(), affine, description=description)
    masks = {"brain": maps.brain, "core": core, "delay": delayed}
    for name, text in _MASKS.items():
        description = text.format(core=thresholds.core_rcbf, delay=thresholds.hypoperfusion_s)
        write_nifti(out / f"{case}_{name}.nii.gz", masks[name].numpy(), affine, description=description)
    title = f"{case}: core {summary['core_ml']:.1f} ml, mismatch {summary['mismatch_ml']:.1f} ml"
    write_panel(out / f"{case}_perfusion.png", maps, core, delayed, affine, title)
    write_json(out / _SUMMARY, summary)


def _arterial_summary(maps: PerfusionVolumes) -> dict:
    arterial = maps.arterial
    return {
        "aif_voxels": torch.nonzero(arterial.aif_mask).tolist(),
        "vof_voxels": torch.nonzero(arterial.vof_mask).tolist(),
        "aif_hu": [round(value, 3) for value in arterial.aif_hu.tolist()],
        "vof_hu": [round(value, 3) for value in arterial.vof_hu.tolist()],
        "aif_scale": round(arterial.scale, 4),
    }


def _times(text: str | None, header_dt_s: float | None, series: Path) -> float | list[float]:
    """Time between frames, or of every frame, in s, from the option or the header."""
    if text is None:
        if header_dt_s is None:
            raise ValueError(f"--dt_s: expected the time between frames in s, as the header of '{series}' has none")
        return header_dt_s
    try:
        return float(text)
    except ValueError:
        return _numbers(text, "--dt_s").tolist()


def _aif(text: str, grid: _Grid) -> AifSource:
    if text.endswith((".nii", ".nii.gz")):
        return _mask(Path(text), "aif", grid)
    indices = text.split(",")
    if len(indices) == 3 and all(index.strip().isdigit() for index in indices):
        return int(indices[0]), int(indices[1]), int(indices[2])
    return torch.from_numpy(_numbers(text, "--aif")).float()


def _numbers(path: str, option: str) -> NDArray[np.float64]:
    """The numbers of a text file, separated by commas or white space."""
    words = Path(path).read_text(encoding="utf-8").replace(",", " ").split()
    try:
        return np.array([float(word) for word in words])
    except ValueError as error:
        raise ValueError(f"{option} '{path}': expected a text file of numbers, got {error}") from error


def _mask(path: Path, option: str, grid: _Grid) -> torch.Tensor:
    """The voxels of a NIfTI file that are not zero, if it is on the grid of the series."""
    mask = read_nifti(path, case=path.name, key=option)
    if mask.array.shape != grid.shape:
        raise ValueError(f"--{option} '{path}': expected a mask {grid.shape} like the series, got {mask.array.shape}")
    shift_mm = grid_shift_mm(mask.affine, grid.affine, grid.shape)
    if shift_mm > GRID_TOLERANCE_MM:
        raise ValueError(
            f"--{option} '{path}': expected the affine of the series within {GRID_TOLERANCE_MM} mm, "
            f"got voxels up to {shift_mm:.3g} mm away"
        )
    return torch.from_numpy(mask.array) != 0


if __name__ == "__main__":
    sys.exit(main())
