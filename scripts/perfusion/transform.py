"""Dictionary transform that checks a case's series and maps, and computes the maps that it lacks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from ..io.errors import CaseError
from ..io.gate import QualityWarning, joined
from .filters import DEFAULT_SMOOTHING_MM
from .given_maps import check_given_maps
from .maps import Method, perfusion_maps
from .masked_grid import Spacing
from .quality import check_maps, check_series, refuse_unusable
from .survey import survey_series
from .volumes import PerfusionVolumes

MAP_KEYS = ("cbf", "cbv", "mtt", "tmax")


class PerfusionMapsd(MapTransform):
    """Check a series and the maps that came with it; compute those of ``cbf``, ``cbv``, ``mtt`` and ``tmax`` it lacks.

    Maps that are given stay untouched. The others are added as (1, H, W, D) float32 with the affine of the series.
    What the quality control warns of is added to ``data["warnings"]``, a string: the series' own findings also where
    all maps are given, see `check_series`, `check_given_maps` and `check_maps`.

    Args:
        keys: the key of the series, (T, H, W, D) in HU, slices last.
        map_keys: the maps that a case should have afterwards; none, and the series alone is checked.
        dt_s: time between frames in s, for every case; None takes ``data["times_s"]``, the time of every frame in s, or
            else ``data["dt_s"]``, or else ``pixdim[4]`` of the series' header; with None, ``data["slice_times_s"]`` is
            when each slice (D, T) was taken, in s, if they have times of their own.
        smoothing_mm: see `perfusion_maps`.
        motion_correction: see `perfusion_maps`.
        method: see `perfusion_maps`.

    Raises:
        CaseError: the series or a map is refused, or maps are missing and the time between frames is not known.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        map_keys: str | Sequence[str] = MAP_KEYS,
        dt_s: float | None = None,
        smoothing_mm: float = DEFAULT_SMOOTHING_MM,
        motion_correction: bool = True,
        method: Method = "bayesian",
    ) -> None:
        super().__init__(keys)
        self.map_keys = (map_keys,) if isinstance(map_keys, str) else tuple(map_keys)
        unknown = set(self.map_keys) - set(MAP_KEYS)
        if unknown:
            raise ValueError(f"map_keys must be among {MAP_KEYS}, got {sorted(unknown)}")
        if dt_s is not None and not (math.isfinite(dt_s) and dt_s > 0):
            raise ValueError(f"dt_s must be a positive time between frames in s, got {dt_s}")
        self.dt_s = dt_s
        self.smoothing_mm = smoothing_mm
        self.motion_correction = motion_correction
        self.method: Method = method

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with all maps."""
        output = dict(data)
        key = self.keys[0]
        series = output[key]
        given = {name: _values(output[name])[0] for name in self.map_keys if output.get(name) is not None}
        meta = series.meta if isinstance(series, MetaTensor) else {}
        case, file = str(output.get("case", "?")), meta.get("filename_or_obj")
        times_s = self._times_s(output, meta)
        if times_s is None and len(given) < len(self.map_keys):
            raise CaseError.of(
                case, str(key), file, "a time between frames", "none in the header: give dt_s or times, in s"
            )
        try:
            of_slices = None if self.dt_s is not None else output.get("slice_times_s")
            maps, warnings = self._checked(_values(series), times_s, of_slices, _spacing_mm(series), given)
        except ValueError as error:
            raise CaseError.of(case, str(key), file, "a CT-perfusion series of a brain", str(error)) from error
        for name in self.map_keys:
            if name not in given:
                volume = getattr(maps, name)[None]
                output[name] = _on_grid_of(series, volume)
        output["warnings"] = joined(output.get("warnings", ""), *warnings)
        return output

    def _checked(
        self,
        series: Tensor,
        times_s: float | list[float] | None,
        slice_times_s: Tensor | None,
        spacing_mm: Spacing,
        given: Mapping[str, Tensor],
    ) -> tuple[PerfusionVolumes | None, list[QualityWarning]]:
        """The maps, where some are missing, and what is warned of in the series, the given and the computed maps."""
        survey = survey_series(series, spacing_mm)
        found = check_series(series, times_s, spacing_mm, survey, slice_times_s)
        if given:
            found += check_given_maps(given, survey)
        refuse_unusable(found)
        if times_s is None or len(given) == len(self.map_keys):
            return None, found
        maps = perfusion_maps(
            series,
            times_s,
            spacing_mm,
            motion_correction=self.motion_correction,
            smoothing_mm=self.smoothing_mm,
            method=self.method,
            slice_times_s=slice_times_s,
        )
        found += check_maps(series, maps, spacing_mm)
        refuse_unusable(found)
        return maps, found

    def _times_s(self, data: Mapping[Hashable, Any], meta: Mapping[str, Any]) -> float | list[float] | None:
        """Frame times or the time between frames in s, by the user, the case or the header, whichever tells first."""
        if self.dt_s is None and (times_s := data.get("times_s")) is not None:
            return [float(time_s) for time_s in times_s]
        pixdim = meta.get("pixdim")
        header_dt_s = float(pixdim[4]) if pixdim is not None and len(pixdim) > 4 else 0.0
        return self.dt_s or float(data.get("dt_s") or 0.0) or header_dt_s or None


def _values(image: Tensor) -> Tensor:
    return image.as_tensor() if isinstance(image, MetaTensor) else torch.as_tensor(image)


def _spacing_mm(series: Tensor) -> Spacing:
    size = series.pixdim.tolist() if isinstance(series, MetaTensor) else [1.0, 1.0, 1.0]
    return float(size[0]), float(size[1]), float(size[2])


def _on_grid_of(series: Any, volume: Tensor) -> Tensor:
    """A map (1, H, W, D) with the affine of its series and the transforms that the series went through."""
    if not isinstance(series, MetaTensor):
        return volume
    return MetaTensor(volume, affine=series.affine, applied_operations=deepcopy(series.applied_operations))
