"""Command line: ``python -m scripts.perfusion CTP.nii.gz --out DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from tqdm import tqdm

from ..io.atomic import write_json
from ..io.nifti import Volume, frame_interval_s, read_nifti, write_nifti
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
_MASKS = {"brain": "brain", "core": "core: rCBF < {core:g} and Tmax > {delay:g} s", "delay": "Tmax > {delay:g} s"}


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
    parser.add_argument("--method", choices=get_args(Method), default="osvd", help="deconvolution (default osvd)")
    parser.add_argument(
        "--smoothing_mm", type=float, default=DEFAULT_SMOOTHING_MM, help="standard deviation of the smoothing in mm"
    )
    parser.add_argument("--core_rcbf", type=float, default=0.30, help="core below this share of normal flow (0.30)")
    parser.add_argument("--delay_s", type=float, default=6.0, help="hypoperfusion above this Tmax in s (6)")
    return parser


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
    case = options.series.name.removesuffix(".gz").removesuffix(".nii")
    steps = tqdm(total=4, desc=case, unit="step")
    volume = read_nifti(options.series, case=case, key="series")
    if volume.array.ndim != 4:
        raise ValueError(f"series '{options.series}': expected a 4D image (H, W, D, T), got {volume.array.shape}")
    series = torch.from_numpy(volume.array).permute(3, 0, 1, 2)
    size = [float(value) for value in volume.header.get_zooms()[:3]]
    spacing_mm = (size[0], size[1], size[2])
    steps.update()
    maps = perfusion_maps(
        series,
        _times(options.dt_s, volume),
        spacing_mm,
        aif=None if options.aif is None else _aif(options.aif),
        brain=None if options.brain is None else _mask(options.brain, "brain"),
        method=options.method,
        smoothing_mm=options.smoothing_mm,
    )
    warnings = check_quality(series, maps, spacing_mm)
    refuse_unusable(warnings)
    steps.update()
    thresholds = ReadingThresholds(core_rcbf=options.core_rcbf, hypoperfusion_s=options.delay_s)
    affine = torch.from_numpy(volume.affine)
    reading, core, delayed = read_maps(maps.cbf, maps.cbv, maps.tmax, maps.tissue, affine, spacing_mm, thresholds)
    steps.update()
    summary = {
        "case": case,
        "dt_s": maps.dt_s,
        "frames_before_contrast": maps.n_baseline,
        "brain_ml": round(float(maps.brain.sum()) * float(np.prod(spacing_mm)) / 1000, 3),
        **_arterial_summary(maps),
        **reading.as_json(),
        "warnings": [
            {"name": found.name, "value": round(found.value, 4), "limit": found.limit, "unit": found.unit}
            for found in warnings
        ],
    }
    _write(options.out, case, maps, core, delayed, volume, thresholds, summary)
    steps.update()
    steps.close()
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
    volume: Volume,
    thresholds: ReadingThresholds,
    summary: dict,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, description in _UNITS.items():
        write_nifti(out / f"{case}_{name}.nii.gz", getattr(maps, name).numpy(), volume.affine, description=description)
    masks = {"brain": maps.brain, "core": core, "delay": delayed}
    for name, text in _MASKS.items():
        description = text.format(core=thresholds.core_rcbf, delay=thresholds.hypoperfusion_s)
        write_nifti(out / f"{case}_{name}.nii.gz", masks[name].numpy(), volume.affine, description=description)
    title = f"{case}: core {summary['core_ml']:.1f} ml, mismatch {summary['mismatch_ml']:.1f} ml"
    write_panel(out / f"{case}_perfusion.png", maps, core, delayed, volume.affine, title)
    write_json(out / "summary.json", summary)


def _arterial_summary(maps: PerfusionVolumes) -> dict:
    arterial = maps.arterial
    return {
        "aif_voxels": torch.nonzero(arterial.aif_mask).tolist(),
        "vof_voxels": torch.nonzero(arterial.vof_mask).tolist(),
        "aif_hu": [round(value, 3) for value in arterial.aif_hu.tolist()],
        "vof_hu": [round(value, 3) for value in arterial.vof_hu.tolist()],
        "aif_scale": round(arterial.scale, 4),
    }


def _times(text: str | None, volume: Volume) -> float | list[float]:
    """Time between frames, or of every frame, in s, from the option or the header."""
    if text is None:
        interval_s = frame_interval_s(volume.header)
        if interval_s is None:
            raise ValueError("--dt_s: expected the time between frames, since the header of the series has none")
        return interval_s
    try:
        return float(text)
    except ValueError:
        return [float(value) for value in _numbers(text, "--dt_s")]


def _aif(text: str) -> AifSource:
    if text.endswith((".nii", ".nii.gz")):
        return _mask(Path(text), "aif")
    indices = text.split(",")
    if len(indices) == 3 and all(index.strip().isdigit() for index in indices):
        return int(indices[0]), int(indices[1]), int(indices[2])
    return torch.from_numpy(_numbers(text, "--aif")).float()


def _numbers(path: str, option: str) -> np.ndarray:
    try:
        return np.atleast_1d(np.loadtxt(path, delimiter=None if "," not in Path(path).read_text() else ",")).ravel()
    except ValueError as error:
        raise ValueError(f"{option} '{path}': expected a text file of numbers, got {error}") from error


def _mask(path: Path, key: str) -> torch.Tensor:
    return torch.from_numpy(read_nifti(path, case=path.name, key=key).array) != 0


if __name__ == "__main__":
    sys.exit(main())
