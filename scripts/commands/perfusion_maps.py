"""From a file to maps, reading, quality control and picture: what `ctp-stroke maps` does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
from ..io.covering import refuse_covering
from ..io.errors import CaseError
from ..io.frame_times import INTERVAL_KEY, TIMES_KEY, FrameTimes
from ..io.nifti import write_nifti
from ..io.orientation import CanonicalFrame
from ..io.origin import is_other, origin
from ..io.paths import is_file
from ..perfusion.arterial_input import AifSource
from ..perfusion.core_and_mismatch import Reading, read_maps
from ..perfusion.filters import DEFAULT_SMOOTHING_MM
from ..perfusion.inputs import Grid, arterial_source, mask_on_grid
from ..perfusion.intervals import MapErrors
from ..perfusion.maps import Method, perfusion_maps
from ..perfusion.masked_grid import Spacing
from ..perfusion.quality import QualityWarning, check_maps, check_series, refuse_unusable
from ..perfusion.thresholds import ReadingThresholds
from ..perfusion.volumes import PerfusionVolumes
from ..perfusion.wording import flag_lines, volume_lines

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


@dataclass(frozen=True)
class MapsRequest:
    """A series, and how its maps are to be computed and read; see `ctp-stroke maps --help`."""

    series: Path
    """4D NIfTI file in HU."""
    out: Path
    """Folder of the results."""
    case: Mapping[str, Any] = field(default_factory=dict)
    """Its name, orientation and frame times, as a datalist has them."""
    dt_s: float | None = None
    """Time between frames."""
    times: Path | None = None
    """File with the time of every frame in s; without either, see :mod:`scripts.io.frame_times`."""
    orientation: str | None = None
    """Directions of the voxel axes, such as "LPS", where the header does not tell."""
    aif: str | None = None
    """Arterial curve, mask or voxel; None searches."""
    brain: Path | None = None
    """Brain mask; None computes one."""
    motion_correction: bool = True
    method: Method = "bayesian"
    smoothing_mm: float = DEFAULT_SMOOTHING_MM
    core_rcbf: float = 0.30
    delay_s: float = 6.0
    overwrite: bool = False
    """Whether results of another series are replaced."""


class _Found(NamedTuple):
    """What the command found in a series."""

    case: str
    frame_times: FrameTimes
    frame: CanonicalFrame
    """What brings the maps, in RAS, back to the order of the series."""
    maps: PerfusionVolumes
    deviations: dict[str, Tensor]
    """The maps of standard deviations that the estimate gives."""
    reading: Reading
    core: Tensor
    delayed: Tensor
    warnings: list[QualityWarning]


def write_maps(options: MapsRequest) -> list[str]:
    """Compute, and write into `options.out`.

    Returns:
        What was found, in lines: the volumes, the cautions and the warnings.

    Raises:
        ValueError: an input does not fit, or the series cannot be used.
        OSError: a file cannot be read or written.
    """
    thresholds = ReadingThresholds(core_rcbf=options.core_rcbf, hypoperfusion_s=options.delay_s)
    with tqdm(total=3, desc="reading", unit="step", leave=False, disable=None) as steps:
        loaded = load_case(_case(options), options.dt_s if options.times is None else options.times)
        refuse_covering([options.out / name for name in _outputs(loaded["case"])], _inputs(options))
        _refuse_other_results(options, loaded["case"])
        frame = CanonicalFrame(loaded["affine"], loaded["image"].shape)
        size = voxel_sizes(frame.affine).tolist()
        spacing_mm = (size[0], size[1], size[2])
        _next(steps, "maps")
        maps, warnings = _maps(options, loaded, frame, spacing_mm)
        _next(steps, "reading of the maps")
        volumes = maps._asdict()
        deviations = {name: volumes[name] for name in _DEVIATIONS if volumes.get(name) is not None}
        errors = None
        if {"cbf_sd", "tmax_sd"} <= deviations.keys():
            errors = MapErrors(deviations["cbf_sd"], deviations["tmax_sd"], options.smoothing_mm)
        affine = torch.from_numpy(frame.affine)
        reading, core, delayed = read_maps(
            maps.cbf, maps.cbv, maps.tmax, maps.tissue, affine, spacing_mm, thresholds, errors
        )
        found = _Found(loaded["case"], loaded["frame_times"], frame, maps, deviations, reading, core, delayed, warnings)
        _next(steps, "writing")
        _write(options, found, loaded["affine"], math.prod(spacing_mm) / 1000, thresholds)
    words = [*volume_lines(reading, thresholds), *flag_lines(reading)]
    return [
        f"{_title(found.case, options)}: {', '.join(words)}; {options.out}",
        *(f"{found.case}: caution: {caution}" for caution in reading.cautions),
        *(f"{found.case}: warning: {warning}" for warning in warnings),
    ]


def _case(options: MapsRequest) -> dict[str, Any]:
    """The series as a case, without the maps that it may bring."""
    if options.dt_s is not None and options.times is not None:
        raise ValueError("--times: expected no --dt-s next to it, got both")
    keys = ("case", "orientation", TIMES_KEY, INTERVAL_KEY)
    case = {key: options.case[key] for key in keys if key in options.case} | {"image": options.series}
    return case if options.orientation is None else case | {"orientation": options.orientation}


def is_complete(folder: Path) -> bool:
    """Whether a folder holds complete maps."""
    return (folder / _SUMMARY).is_file()


def _next(steps: tqdm, name: str) -> None:
    steps.update()
    steps.set_description(name)


def _title(case: str, options: MapsRequest) -> str:
    return case if options.orientation is None else f"{case} (orientation {options.orientation} as given)"


def _outputs(case: str) -> list[str]:
    """The names of all files that the command may write."""
    names = [*_UNITS, *_DEVIATIONS, *_MASKS]
    return [_SUMMARY, f"{case}_perfusion.png", *(f"{case}_{name}.nii.gz" for name in names)]


def _inputs(options: MapsRequest) -> list[Path]:
    given = [options.series, options.brain, options.aif, options.times]
    return [Path(path) for path in given if path is not None and is_file(path)]


def _refuse_other_results(options: MapsRequest, case: str) -> None:
    """Raise ValueError if the folder holds the summary of another case or of another series of this name."""
    summary = options.out / _SUMMARY
    if options.overwrite or not summary.is_file():
        return
    try:
        found = json.loads(summary.read_text(encoding="utf-8"))
        earlier, recorded = found["case"], found.get("series")  # earlier versions do not record the series
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"--out '{options.out}': expected no summary of something else, got '{summary}'") from None
    if earlier != case or is_other(recorded, options.series):
        raise ValueError(
            f"--out '{options.out}': expected a folder of its own for case '{case}', got the results of "
            f"'{recorded['path'] if recorded else earlier}' there; choose another folder, or add --overwrite"
        )


def _maps(
    options: MapsRequest, loaded: dict[str, Any], frame: CanonicalFrame, spacing_mm: Spacing
) -> tuple[PerfusionVolumes, list[QualityWarning]]:
    """The maps of a loaded case in RAS, and what its quality control warns of."""
    stored = loaded.pop("image")
    grid = Grid(stored.shape[:3], loaded["affine"])
    if loaded["frame_times"] is None:
        raise ValueError(f"--dt-s: expected the time between frames in s, as the header of '{options.series}' has none")
    times_s = loaded["frame_times"].value
    slice_times_s = loaded["frame_times"].slice_times_s(stored.shape[3])
    if slice_times_s is not None:
        slice_times_s = torch.from_numpy(frame.slices_to_canonical(slice_times_s).copy())
    aif = None if options.aif is None else _canonical_source(arterial_source(options.aif, grid), grid, frame)
    brain = None if options.brain is None else _canonical(mask_on_grid(options.brain, "brain", grid), frame)
    series = torch.from_numpy(frame.to_canonical_in_place(stored)).permute(3, 0, 1, 2)
    try:
        warnings = [*loaded.get("warnings", []), *check_series(series, times_s, spacing_mm, None, slice_times_s)]
        refuse_unusable(warnings)
        maps = perfusion_maps(
            series,
            times_s,
            spacing_mm,
            aif=aif,
            brain=brain,
            motion_correction=options.motion_correction,
            method=options.method,
            smoothing_mm=options.smoothing_mm,
            slice_times_s=slice_times_s,
        )
        warnings += check_maps(series, maps, spacing_mm)
        refuse_unusable(warnings)
    except ValueError as error:
        expected = "a CT-perfusion series of a brain"
        raise CaseError.of(loaded["case"], "image", options.series, expected, str(error)) from error
    return maps, warnings


def _canonical(mask: Tensor, frame: CanonicalFrame) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frame.to_canonical(mask.numpy())))


def _canonical_source(source: AifSource, grid: Grid, frame: CanonicalFrame) -> AifSource:
    """The voxels of an arterial curve in RAS; a curve stays as it is."""
    if not isinstance(source, Tensor):
        mask = torch.zeros(grid.shape, dtype=torch.bool)
        if not all(0 <= index < size for index, size in zip(source, grid.shape, strict=True)):
            raise ValueError(f"--aif: expected the indices of a voxel of the image {grid.shape}, got {source}")
        mask[source] = True
        source = mask
    return source if source.ndim == 1 else _canonical(source, frame)


def _write(
    options: MapsRequest,
    found: _Found,
    affine: NDArray[np.float64],
    voxel_ml: float,
    thresholds: ReadingThresholds,
) -> None:
    """Write every file of the folder, the summary last."""
    from ..report.perfusion_panel import write_panel  # matplotlib takes longer to import than a small case to compute

    case, maps, reading = found.case, found.maps, found.reading
    masks = {"brain": maps.brain, "tissue": maps.tissue, "core": found.core, "delay": found.delayed}
    limits = {"core": thresholds.core_rcbf, "delay": thresholds.hypoperfusion_s}
    volumes = [
        *((name, getattr(maps, name), unit) for name, unit in _UNITS.items()),
        *((name, volume, _DEVIATIONS[name]) for name, volume in found.deviations.items()),
        *((name, masks[name], text.format(**limits)) for name, text in _MASKS.items()),
    ]
    texts = [str(warning) for warning in found.warnings]
    with files_together(options.out, last=_SUMMARY, replaced=_outputs(case)) as folder:
        for name, volume, description in volumes:
            stored = found.frame.to_stored(volume.cpu().numpy())
            write_nifti(folder / f"{case}_{name}.nii.gz", stored, affine, description=description)
        picture = folder / f"{case}_perfusion.png"
        title = _title(case, options)
        write_panel(picture, maps, reading, found.core, found.delayed, found.frame.affine, title, texts, thresholds)
        summary = {
            "case": case,
            "series": origin(options.series),
            "orientation": options.orientation,
            "settings": _settings(options),
            "frame_times": found.frame_times.as_json(),
            "dt_s": maps.dt_s,
            "frames_before_contrast": maps.n_baseline,
            "brain_ml": round(float(maps.brain.sum()) * voxel_ml, 3),
            **_arterial_summary(maps, found.frame),
            **reading.as_json(),
            "warnings": [
                {"name": warning.name, "value": round(warning.value, 4), "limit": warning.limit, "unit": warning.unit}
                for warning in found.warnings
            ],
        }
        write_json(folder / _SUMMARY, summary)


def _settings(options: MapsRequest) -> dict[str, Any]:
    """How the maps were computed and read."""
    keys = ("method", "smoothing_mm", "motion_correction", "core_rcbf", "delay_s")
    given = {key: "found" if getattr(options, key) is None else "given" for key in ("aif", "brain")}
    return {key: getattr(options, key) for key in keys} | given


def _arterial_summary(maps: PerfusionVolumes, frame: CanonicalFrame) -> dict[str, Any]:
    arterial = maps.arterial
    voxels = {
        name: np.argwhere(frame.to_stored(mask.cpu().numpy())).tolist()
        for name, mask in (("aif_voxels", arterial.aif_mask), ("vof_voxels", arterial.vof_mask))
    }
    return {
        **voxels,
        "times_s": [round(time_s, 3) for time_s in maps.times_s.tolist()],
        "lost_frames": torch.nonzero(maps.motion.lost).flatten().tolist(),
        "aif_hu": [round(value, 3) for value in arterial.aif_hu.tolist()],
        "vof_hu": [round(value, 3) for value in arterial.vof_hu.tolist()],
        "aif_scale": round(arterial.scale, 4),
        "aif_scale_sd": None if math.isnan(arterial.scale_sd) else round(arterial.scale_sd, 4),
    }
