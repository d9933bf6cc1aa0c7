"""What the command does with its arguments: from a file to maps, reading, quality control and picture."""

from __future__ import annotations

import argparse
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..io.atomic import write_json
from ..io.atomic_folder import files_together
from ..io.case import load_case
from ..io.errors import CaseError
from ..io.nifti import write_nifti
from .inputs import Grid, arterial_source, frame_times, mask_on_grid
from .intervals import MapErrors
from .maps import PerfusionVolumes, perfusion_maps
from .panel import write_panel
from .quality import QualityWarning, check_quality, refuse_unusable
from .reading import Reading, read_maps
from .smoothing import Spacing
from .thresholds import ReadingThresholds
from .wording import flag_lines, volume_lines

_UNITS = {
    "cbf": "CBF [ml/100 g/min]",
    "cbv": "CBV [ml/100 g]",
    "mtt": "MTT [s]",
    "tmax": "Tmax [s]",
    "ttp": "TTP [s after the first frame]",
}
_DEVIATIONS = {
    "cbf_sd": "standard deviation of CBF [ml/100 g/min]",
    "cbv_sd": "standard deviation of CBV [ml/100 g]",
    "tmax_sd": "standard deviation of Tmax [s]",
}
_SUMMARY = "summary.json"
_MASKS = {
    "brain": "brain",
    "tissue": "tissue: brain without vessels and fluid",
    "core": "core: rCBF < {core:g} and Tmax > {delay:g} s",
    "delay": "Tmax > {delay:g} s",
}


class _Found(NamedTuple):
    """What the command found in a series."""

    case: str
    maps: PerfusionVolumes
    deviations: dict[str, Tensor]
    """The maps of standard deviations that the estimate gives."""
    reading: Reading
    core: Tensor
    delayed: Tensor
    warnings: list[QualityWarning]


def run(options: argparse.Namespace) -> None:
    """Compute, write into `options.out`, and print what was found.

    Raises:
        ValueError: an input does not fit, or the series cannot be used.
        OSError: a file cannot be read or written.
    """
    thresholds = ReadingThresholds(core_rcbf=options.core_rcbf, hypoperfusion_s=options.delay_s)
    with tqdm(total=3, desc="reading", unit="step", leave=False) as steps:
        loaded = load_case({"image": options.series, "orientation": options.orientation})
        size = voxel_sizes(loaded["affine"]).tolist()
        spacing_mm = (size[0], size[1], size[2])
        _next(steps, "maps")
        maps, warnings = _maps(options, loaded, spacing_mm)
        _next(steps, "reading of the maps")
        volumes = maps._asdict()
        deviations = {name: volumes[name] for name in _DEVIATIONS if volumes.get(name) is not None}
        errors = None
        if {"cbf_sd", "tmax_sd"} <= deviations.keys():
            errors = MapErrors(deviations["cbf_sd"], deviations["tmax_sd"], options.smoothing_mm)
        affine = torch.from_numpy(loaded["affine"])
        reading, core, delayed = read_maps(
            maps.cbf, maps.cbv, maps.tmax, maps.tissue, affine, spacing_mm, thresholds, errors
        )
        found = _Found(loaded["case"], maps, deviations, reading, core, delayed, warnings)
        _next(steps, "writing")
        _write(options, found, loaded["affine"], math.prod(spacing_mm) / 1000, thresholds)
    words = [*volume_lines(reading, thresholds), *flag_lines(reading)]
    print(f"{_title(found.case, options)}: {', '.join(words)}; {options.out}")
    for caution in reading.cautions:
        print(f"{found.case}: caution: {caution}")
    for warning in warnings:
        print(f"{found.case}: warning: {warning}")


def _next(steps: tqdm, name: str) -> None:
    steps.update()
    steps.set_description(name)


def _title(case: str, options: argparse.Namespace) -> str:
    return case if options.orientation is None else f"{case} (orientation {options.orientation} as given)"


def _maps(
    options: argparse.Namespace, loaded: dict[str, Any], spacing_mm: Spacing
) -> tuple[PerfusionVolumes, list[QualityWarning]]:
    """The maps of a loaded case, and what its quality control warns of."""
    series = torch.from_numpy(loaded["image"]).permute(3, 0, 1, 2)
    grid = Grid(tuple(series.shape[1:]), loaded["affine"])
    times_s = frame_times(options.dt_s, loaded["dt_s"], options.series)
    aif = None if options.aif is None else arterial_source(options.aif, grid)
    brain = None if options.brain is None else mask_on_grid(options.brain, "brain", grid)
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
        warnings = [*loaded.get("warnings", []), *check_quality(series, maps, spacing_mm)]
        refuse_unusable(warnings)
    except ValueError as error:
        expected = "a CT-perfusion series of a brain"
        raise CaseError.of(loaded["case"], "image", options.series, expected, str(error)) from error
    return maps, warnings


def _write(
    options: argparse.Namespace,
    found: _Found,
    affine: NDArray[np.float64],
    voxel_ml: float,
    thresholds: ReadingThresholds,
) -> None:
    """Write every file of the folder, the summary last."""
    case, maps, reading = found.case, found.maps, found.reading
    masks = {"brain": maps.brain, "tissue": maps.tissue, "core": found.core, "delay": found.delayed}
    limits = {"core": thresholds.core_rcbf, "delay": thresholds.hypoperfusion_s}
    volumes = [
        *((name, getattr(maps, name), unit) for name, unit in _UNITS.items()),
        *((name, volume, _DEVIATIONS[name]) for name, volume in found.deviations.items()),
        *((name, masks[name], text.format(**limits)) for name, text in _MASKS.items()),
    ]
    texts = [str(warning) for warning in found.warnings]
    with files_together(options.out, last=_SUMMARY) as folder:
        for name, volume, description in volumes:
            write_nifti(folder / f"{case}_{name}.nii.gz", volume.cpu().numpy(), affine, description=description)
        picture = folder / f"{case}_perfusion.png"
        title = _title(case, options)
        write_panel(picture, maps, reading, found.core, found.delayed, affine, title, texts, thresholds)
        summary = {
            "case": case,
            "orientation": options.orientation,
            "dt_s": maps.dt_s,
            "frames_before_contrast": maps.n_baseline,
            "brain_ml": round(float(maps.brain.sum()) * voxel_ml, 3),
            **_arterial_summary(maps),
            **reading.as_json(),
            "warnings": [
                {"name": warning.name, "value": round(warning.value, 4), "limit": warning.limit, "unit": warning.unit}
                for warning in found.warnings
            ],
        }
        write_json(folder / _SUMMARY, summary)


def _arterial_summary(maps: PerfusionVolumes) -> dict[str, Any]:
    arterial = maps.arterial
    return {
        "aif_voxels": torch.nonzero(arterial.aif_mask).tolist(),
        "vof_voxels": torch.nonzero(arterial.vof_mask).tolist(),
        "aif_hu": [round(value, 3) for value in arterial.aif_hu.tolist()],
        "vof_hu": [round(value, 3) for value in arterial.vof_hu.tolist()],
        "aif_scale": round(arterial.scale, 4),
    }
